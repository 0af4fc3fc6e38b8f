"""The table of analyses: what is to be done, who is doing it, and what came out."""

import enum
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Enum, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, utc_now
from app.models.video import Video


class AnalysisStatus(enum.StrEnum):
    """Where an analysis stands. `done` and `failed` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Analysis(Base):
    """One run over one video.

    The row is the truth and a queue only a hint: a worker owns the analysis while `lease_until`
    lies ahead, and only the owner in `lease_owner` can write the result. So a task delivered twice
    is done once, and one whose worker died is free again when the lease runs out.
    """

    __tablename__ = "analyses"
    __table_args__ = (Index(None, "status", "id"),)

    video_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("videos.id", ondelete="CASCADE"), index=True
    )
    status: Mapped[AnalysisStatus] = mapped_column(
        Enum(
            AnalysisStatus,
            native_enum=False,  # a PostgreSQL enum cannot lose a value again
            length=20,
            create_constraint=True,
            name="status_known",
            values_callable=lambda members: [member.value for member in members],
        ),
        default=AnalysisStatus.QUEUED,
    )
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it failed, as a sentence for people."""
    attempts: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]
    """When it was last handed to the broker; unset in the embedded mode."""
    requested_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    video: Mapped[Video] = relationship(back_populates="analyses", lazy="raise")
