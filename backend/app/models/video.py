"""The table of uploaded videos."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, utc_now

if TYPE_CHECKING:
    from app.models.analysis import Analysis


class Video(Base):
    """One content, stored once: `sha256` is unique, and the file's name on disk is the row's id."""

    __tablename__ = "videos"
    __table_args__ = (CheckConstraint("size > 0", name="size_positive"),)

    filename: Mapped[str] = mapped_column(String(255))
    """As the client called it: shown, never used as a path."""
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    container: Mapped[str] = mapped_column(String(100))
    """The container format as ffprobe names it, for example `mov,mp4,m4a,3gp,3g2,mj2`."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    analyses: Mapped[list["Analysis"]] = relationship(
        back_populates="video",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="Analysis.id",
    )
