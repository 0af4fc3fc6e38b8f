"""Use-cases around analyses: request, list, read, follow, cancel, retry, delete."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import AnalysisNotFoundError, ConflictError, VideoNotFoundError
from app.models import FINAL, Analysis, AnalysisStatus, MotionEvent, Video
from app.services import parameters as stored_parameters
from app.services.leases import changed, ended
from app.services.paging import Order, Page
from app.video import Parameters

UNFINISHED = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)


def get(session: Session, *, analysis_id: uuid.UUID) -> Analysis:
    """Return an analysis. Raises AnalysisNotFoundError."""
    analysis = session.get(Analysis, analysis_id)
    if analysis is None:
        raise AnalysisNotFoundError(f"There is no analysis {analysis_id}.")
    return analysis


def page(
    session: Session,
    *,
    video_id: uuid.UUID | None,
    status: Sequence[AnalysisStatus],
    limit: int,
    after: str | None,
) -> Page[Analysis]:
    """Return up to `limit` analyses, newest first, that follow the cursor `after`.

    Raises InvalidCursorError.
    """
    order = Order("newest", id=Analysis.id.expression, descending=True)
    query = select(Analysis)
    if video_id is not None:
        query = query.where(Analysis.video_id == video_id)
    if status:
        query = query.where(Analysis.status.in_(status))
    rows = session.scalars(order.apply(query, after=after, limit=limit)).all()
    return order.page(list(rows), limit=limit, place=lambda analysis: (None, analysis.id))


def request(
    session: Session, *, video_id: uuid.UUID, parameters: Parameters
) -> tuple[Analysis, bool]:
    """Queue an analysis; return it and whether it is new.

    The same request while the first is not finished gives the first. Raises VideoNotFoundError.
    """
    wanted = stored_parameters.to_json(parameters)
    waiting = select(Analysis).where(Analysis.video_id == video_id, Analysis.status.in_(UNFINISHED))
    for analysis in session.scalars(waiting):
        if stored_parameters.from_json(analysis.parameters) == parameters:
            return analysis, False
    missing = VideoNotFoundError(f"There is no video {video_id}.")
    if session.get(Video, video_id) is None:
        raise missing
    analysis = Analysis(video_id=video_id, parameters=wanted)
    session.add(analysis)
    try:
        session.flush()
    except IntegrityError:  # deleted since we looked
        raise missing from None
    return analysis, True


def cancel(session: Session, *, analysis_id: uuid.UUID, now: datetime) -> Analysis:
    """End an analysis that is not finished; a worker that carries it out notices and stops.

    Raises AnalysisNotFoundError, or ConflictError when it is finished. Cancelling twice is fine.
    """
    cancelled = (
        update(Analysis)
        .where(Analysis.id == analysis_id, Analysis.status.in_(UNFINISHED))
        .values(status=AnalysisStatus.CANCELLED, **ended(now))
    )
    ended_now = changed(session, cancelled)
    analysis = get(session, analysis_id=analysis_id)
    if not ended_now and analysis.status is not AnalysisStatus.CANCELLED:
        raise ConflictError(f"Analysis {analysis_id} is {analysis.status.value} already.")
    return analysis


def retry(session: Session, *, analysis_id: uuid.UUID) -> Analysis:
    """Queue a failed or cancelled analysis again, with its parameters and a fresh count.

    Raises AnalysisNotFoundError, or ConflictError when it is neither.
    """
    again = (
        update(Analysis)
        .where(
            Analysis.id == analysis_id,
            Analysis.status.in_((AnalysisStatus.FAILED, AnalysisStatus.CANCELLED)),
        )
        .values(
            status=AnalysisStatus.QUEUED,
            attempts=0,
            reason=None,
            progress=None,
            started_at=None,
            finished_at=None,
            dispatched_at=None,
            revision=Analysis.revision + 1,
        )
    )
    queued = changed(session, again)
    analysis = get(session, analysis_id=analysis_id)
    if not queued:
        raise ConflictError(
            f"Analysis {analysis_id} is {analysis.status.value}; only a failed or cancelled one "
            "can be tried again."
        )
    return analysis


def delete(session: Session, *, analysis_id: uuid.UUID) -> list[uuid.UUID]:
    """Remove a finished analysis with its events; return their ids, whose files may be cached.

    Raises AnalysisNotFoundError, or ConflictError while it is not finished.
    """
    analysis = get(session, analysis_id=analysis_id)
    if analysis.status not in FINAL:
        raise ConflictError(f"Analysis {analysis_id} is {analysis.status.value}; cancel it first.")
    events = session.scalars(
        select(MotionEvent.id).where(MotionEvent.analysis_id == analysis_id)
    ).all()
    session.delete(analysis)
    session.flush()
    return list(events)


def revisions(
    session: Session, *, analysis_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, int | None]:
    """Return the revision of each analysis, None for one that is gone."""
    query = select(Analysis.id, Analysis.revision).where(Analysis.id.in_(analysis_ids))
    found = {row.id: row.revision for row in session.execute(query)}
    return {analysis_id: found.get(analysis_id) for analysis_id in analysis_ids}


def several(session: Session, *, analysis_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Analysis]:
    """Return those of the analyses that exist, by id."""
    query = select(Analysis).where(Analysis.id.in_(analysis_ids))
    return {analysis.id: analysis for analysis in session.scalars(query)}
