"""The table of motion events."""

import uuid
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class MotionEvent(Base):
    """One period of motion. Written once, in the transaction that completes its analysis."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("analysis_id", "position"),
        CheckConstraint("end_time >= start_time", name="order"),
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
