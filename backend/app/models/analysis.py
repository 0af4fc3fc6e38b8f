"""The table of analyses: what is to be done, who is doing it, how far it is, and what came out."""

import enum
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Enum, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, utc_now
from app.models.video import Video

if TYPE_CHECKING:
    from app.models.event import MotionEvent


class AnalysisStatus(enum.StrEnum):
    """Where an analysis stands. The last three are final, until somebody retries."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (AnalysisStatus.DONE, AnalysisStatus.FAILED, AnalysisStatus.CANCELLED)


class Analysis(Base):
    """One run over one video.

    The row is the truth and a queue only a hint: a worker owns the analysis while `lease_until`
    lies ahead, and only the owner in `lease_owner` can write the result. So a task delivered twice
    is done once, and one whose worker died is free again when the lease runs out.
    """

    __tablename__ = "analyses"
    __table_args__ = (Index(None, "status", "id"), Index(None, "video_id", "id"))

    video_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
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
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What was asked for (`app.services.parameters`); NULL, as the first version left it, means
    the defaults."""
    progress: Mapped[float | None]
    """Share of the work done, 0 to 1; written about once a second while running."""
    revision: Mapped[int] = mapped_column(default=0, server_default="0")
    """Grows with every change, so that a listener can tell what it has seen."""
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
    event_count: Mapped[int | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    timeline: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True),
        # Kilobytes that lists never show: read only where it is asked for.
        deferred=True,
        deferred_raiseload=True,
    )

    video: Mapped[Video] = relationship(back_populates="analyses", lazy="raise")
    events: Mapped[list["MotionEvent"]] = relationship(
        back_populates="analysis", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
