"""The table of events: when something moved, how much, and where."""

import uuid
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.analysis import Analysis
from app.models.base import Base


class MotionEvent(Base):
    """One stretch of motion. Written once, in the transaction that ends its analysis."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("analysis_id", "position"),
        CheckConstraint("end_time >= start_time", name="order"),
    )

    analysis_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("analyses.id", ondelete="CASCADE"))
    position: Mapped[int]
    """Counts from 0, in order of time."""
    start_time: Mapped[float]
    """Seconds from the start of the video, as are the next two."""
    end_time: Mapped[float]
    peak_time: Mapped[float]
    peak_score: Mapped[float]
    """0 to 1."""
    boxes: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """`time` (seconds), and `x`, `y`, `width`, `height` as shares of the upright picture."""

    analysis: Mapped[Analysis] = relationship(back_populates="events", lazy="raise")
