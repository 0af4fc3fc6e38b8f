"""The table of motion events."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Enum, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base
from app.models.caption import CaptionStatus


class MotionEvent(Base):
    """One period of motion. Written once, in the transaction that completes its analysis.

    The columns of the caption are written later, by `app.services.captions`.
    """

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("analysis_id", "position"),
        CheckConstraint("end_time >= start_time", name="order"),
        Index(None, "caption_status", "id"),
    )

    analysis_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("analyses.id", ondelete="CASCADE"))
    position: Mapped[int]
    """Chronological, starting at 0."""
    start_time: Mapped[float]
    """In seconds from the start of the video, as are the next two."""
    end_time: Mapped[float]
    peak_time: Mapped[float]
    peak_score: Mapped[float]
    """0 to 1."""
    boxes: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """`time` in seconds; `x`, `y`, `width`, `height` in fractions of the upright frame."""
    caption_status: Mapped[CaptionStatus | None] = mapped_column(
        Enum(
            CaptionStatus,
            native_enum=False,  # values cannot be removed from a PostgreSQL enum
            length=20,
            values_callable=lambda members: [member.value for member in members],
        )
    )
    caption: Mapped[str | None] = mapped_column(Text)
    """One line of plain text from outside: to be shown as text, and never interpreted."""
    caption_reason: Mapped[str | None] = mapped_column(Text)
    """Why there is no caption."""
    caption_owner: Mapped[uuid.UUID | None]
    """The attempt that may write the result."""
    caption_due: Mapped[datetime | None]
    """Waiting: when to ask again. Claimed or sending: when its process is taken for dead."""
    caption_errors: Mapped[int] = mapped_column(default=0, server_default="0")
    """Answers that this picture may be the reason of."""
