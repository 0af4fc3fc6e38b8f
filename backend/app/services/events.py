"""Use cases for results: events and the activity timeline."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from app.errors import AnalysisNotFoundError, ConflictError, EventNotFoundError
from app.models import Analysis, MotionEvent, Video
from app.services import analyses
from app.services.paging import Order, Page


@dataclass(frozen=True)
class EventState:
    """An event and its video."""

    event: MotionEvent
    video: Video


def get(session: Session, *, event_id: uuid.UUID) -> EventState:
    """Return an event. Raise EventNotFoundError if it does not exist."""
    query = (
        select(MotionEvent, Video)
        .join(Analysis, Analysis.id == MotionEvent.analysis_id)
        .join(Video, Video.id == Analysis.video_id)
        .where(MotionEvent.id == event_id)
    )
    row = session.execute(query).first()
    if row is None:
        raise EventNotFoundError(f"Event {event_id} does not exist.")
    return EventState(row[0], row[1])


def recorded_at(session: Session, *, analysis_id: uuid.UUID) -> datetime | None:
    """Return when the video of an analysis was recorded, if its file says so."""
    query = (
        select(Video.recorded_at)
        .join(Analysis, Analysis.video_id == Video.id)
        .where(Analysis.id == analysis_id)
    )
    return session.scalar(query)


def page(
    session: Session,
    *,
    analysis_id: uuid.UUID,
    minimum_score: float,
    limit: int,
    after: str | None,
    caption: str | None = None,
) -> Page[MotionEvent]:
    """Return up to `limit` events of an analysis after the cursor `after`, chronologically.

    Raise AnalysisNotFoundError or InvalidCursorError.
    """
    analyses.get(session, analysis_id=analysis_id)
    order = Order("position", id=MotionEvent.id.expression, key=MotionEvent.position.expression)
    query = select(MotionEvent).where(MotionEvent.analysis_id == analysis_id)
    if minimum_score > 0:
        query = query.where(MotionEvent.peak_score >= minimum_score)
    if caption:
        query = query.where(MotionEvent.caption.icontains(caption, autoescape=True))
    rows = session.scalars(order.apply(query, after=after, limit=limit)).all()
    return order.page(list(rows), limit=limit, position=lambda event: (event.position, event.id))


def timeline(session: Session, *, analysis_id: uuid.UUID) -> dict[str, Any]:
    """Return the stored timeline: `bucket` (seconds per entry) and `scores`.

    Raise AnalysisNotFoundError if the analysis does not exist, ConflictError if it has no timeline.
    """
    query = select(Analysis).where(Analysis.id == analysis_id).options(undefer(Analysis.timeline))
    analysis = session.scalar(query)
    if analysis is None:
        raise AnalysisNotFoundError(f"Analysis {analysis_id} does not exist.")
    if analysis.timeline is None:
        raise ConflictError(
            f"Analysis {analysis_id} is {analysis.status.value}; it has no timeline."
        )
    return analysis.timeline
