"""The table of uploaded videos."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, utc_now

if TYPE_CHECKING:
    from app.models.analysis import Analysis

UNKNOWN_DURATION = -1.0
"""Where lists sorted by duration put the videos that have none."""


class Video(Base):
    """One content, stored once: `sha256` is unique, and the file's name on disk is the row's id."""

    __tablename__ = "videos"
    __table_args__ = (
        CheckConstraint("size > 0", name="size_positive"),
        Index(None, "filename", "id"),
        Index(None, "size", "id"),
        Index("ix_videos_duration_id", text(f"coalesce(duration, {UNKNOWN_DURATION})"), "id"),
    )

    filename: Mapped[str] = mapped_column(String(255))
    """As the client called it: shown, never used as a path."""
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    container: Mapped[str] = mapped_column(String(100))
    """The container format as ffprobe names it, for example `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: Mapped[str | None] = mapped_column(String(100))
    """As ffprobe names it. This and what follows is NULL in rows of the first version."""
    width: Mapped[int | None]
    """Pixels as coded, before rotation."""
    height: Mapped[int | None]
    rotation: Mapped[int | None]
    """Degrees clockwise a player turns the picture."""
    duration: Mapped[float | None]
    """Seconds; NULL too when the file does not say."""
    frame_rate: Mapped[str | None] = mapped_column(String(40))
    """Average frames per second as an exact fraction, for example `30000/1001`."""
    has_audio: Mapped[bool | None]
    source: Mapped[str] = mapped_column(String(20), default="upload", server_default="upload")
    """How it came: `upload`, `path` or `url`."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    analyses: Mapped[list["Analysis"]] = relationship(
        back_populates="video",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="Analysis.id",
    )
