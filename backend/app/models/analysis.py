"""The table of analyses: parameters, owner, progress and result."""

import enum
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Enum, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, utc_now


class AnalysisStatus(enum.StrEnum):
    """The status of an analysis. The last three are final unless it is retried."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (AnalysisStatus.DONE, AnalysisStatus.FAILED, AnalysisStatus.CANCELLED)


class Analysis(Base):
    """One analysis of one video.

    The row is authoritative; a message in a queue is only a hint. A worker owns the analysis until
    `lease_until`, and only the owner in `lease_owner` can write the result. So a task delivered
    twice is done once, and one whose worker died becomes claimable when the lease expires.
    """

    __tablename__ = "analyses"
    __table_args__ = (
        Index(None, "status", "id"),
        Index(None, "video_id", "id"),
        Index(None, "client", "started_at"),
    )

    video_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    status: Mapped[AnalysisStatus] = mapped_column(
        Enum(
            AnalysisStatus,
            native_enum=False,  # values cannot be removed from a PostgreSQL enum
            length=20,
            create_constraint=True,
            name="status_known",
            values_callable=lambda members: [member.value for member in members],
        ),
        default=AnalysisStatus.QUEUED,
    )
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """As written by `app.services.parameters`; NULL, in rows of the first version, means the
    defaults."""
    progress: Mapped[float | None]
    """Fraction of the work done, 0 to 1; updated about once a second while running."""
    revision: Mapped[int] = mapped_column(default=0, server_default="0")
    """Increases with every change, so that a listener knows what it has already seen."""
    reason: Mapped[str | None] = mapped_column(Text)
    """Why the analysis failed, for users."""
    warning: Mapped[str | None] = mapped_column(Text)
    """What is missing or doubtful although the analysis is done, for users."""
    detail: Mapped[str | None] = mapped_column(Text)
    """Lines of ffmpeg's log behind `reason` or `warning`, for experts."""
    attempts: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    client: Mapped[str | None] = mapped_column(String(16))
    """Who requested it (see `Video.client`): clients take turns."""
    dispatched_at: Mapped[datetime | None]
    """When it was last published to the broker; unset with the embedded worker."""
    requested_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    event_count: Mapped[int | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    timeline: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True),
        # Kilobytes that lists never show; loaded only on request.
        deferred=True,
        deferred_raiseload=True,
    )
