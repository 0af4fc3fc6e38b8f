"""Use cases for analyses: request, list, read, follow, cancel, retry, delete."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import AnalysisNotFoundError, ConflictError, VideoNotFoundError
from app.models import FINAL, Analysis, AnalysisStatus, MotionEvent, Video
from app.services import parameters as stored_parameters
from app.services import quotas as quotas_of
from app.services.leases import ended_values, update_one
from app.services.paging import Order, Page
from app.services.quotas import UNFINISHED, UNLIMITED, Quotas
from app.video import Parameters


def get(session: Session, *, analysis_id: uuid.UUID) -> Analysis:
    """Return an analysis. Raise AnalysisNotFoundError if it does not exist."""
    analysis = session.get(Analysis, analysis_id)
    if analysis is None:
        raise AnalysisNotFoundError(f"Analysis {analysis_id} does not exist.")
    return analysis


def page(
    session: Session,
    *,
    video_id: uuid.UUID | None,
    status: Sequence[AnalysisStatus],
    limit: int,
    after: str | None,
) -> Page[Analysis]:
    """Return up to `limit` analyses after the cursor `after`, newest first.

    Raise InvalidCursorError if the cursor is not one of this list.
    """
    order = Order("newest", id=Analysis.id.expression, descending=True)
    query = select(Analysis)
    if video_id is not None:
        query = query.where(Analysis.video_id == video_id)
    if status:
        query = query.where(Analysis.status.in_(status))
    rows = session.scalars(order.apply(query, after=after, limit=limit)).all()
    return order.page(list(rows), limit=limit, position=lambda analysis: (None, analysis.id))


def request(
    session: Session,
    *,
    video_id: uuid.UUID,
    parameters: Parameters,
    client: str | None = None,
    quotas: Quotas = UNLIMITED,
) -> tuple[Analysis, bool]:
    """Queue an analysis; return it and whether it is new.

    An unfinished analysis with the same parameters is returned instead of a duplicate. Raise
    VideoNotFoundError if the video does not exist, or TooManyRequestsError.
    """
    unfinished = select(Analysis).where(
        Analysis.video_id == video_id, Analysis.status.in_(UNFINISHED)
    )
    for analysis in session.scalars(unfinished):
        if stored_parameters.from_json(analysis.parameters) == parameters:
            return analysis, False
    not_found = VideoNotFoundError(f"Video {video_id} does not exist.")
    if session.get(Video, video_id) is None:
        raise not_found
    quotas_of.check_jobs(session, client=client, quotas=quotas)
    stored = stored_parameters.to_json(parameters)
    analysis = Analysis(video_id=video_id, parameters=stored, client=client)
    session.add(analysis)
    try:
        session.flush()
    except IntegrityError:  # the video has been deleted in the meantime
        raise not_found from None
    return analysis, True


def cancel(session: Session, *, analysis_id: uuid.UUID, now: datetime) -> Analysis:
    """Cancel an unfinished analysis; its worker notices and stops. Cancelling twice is harmless.

    Raise AnalysisNotFoundError if it does not exist, ConflictError if it is done or failed.
    """
    statement = (
        update(Analysis)
        .where(Analysis.id == analysis_id, Analysis.status.in_(UNFINISHED))
        .values(status=AnalysisStatus.CANCELLED, **ended_values(now))
    )
    updated = update_one(session, statement)
    analysis = get(session, analysis_id=analysis_id)
    if not updated and analysis.status is not AnalysisStatus.CANCELLED:
        raise ConflictError(f"Analysis {analysis_id} is already {analysis.status.value}.")
    return analysis


def retry(
    session: Session,
    *,
    analysis_id: uuid.UUID,
    client: str | None = None,
    quotas: Quotas = UNLIMITED,
) -> Analysis:
    """Requeue a failed or cancelled analysis with its parameters and a reset attempt count.

    Raise AnalysisNotFoundError if it does not exist, ConflictError if it is neither, or
    TooManyRequestsError.
    """
    quotas_of.check_jobs(session, client=client, quotas=quotas)
    statement = (
        update(Analysis)
        .where(
            Analysis.id == analysis_id,
            Analysis.status.in_((AnalysisStatus.FAILED, AnalysisStatus.CANCELLED)),
        )
        .values(
            status=AnalysisStatus.QUEUED,
            client=client,
            attempts=0,
            reason=None,
            detail=None,
            progress=None,
            started_at=None,
            finished_at=None,
            dispatched_at=None,
            revision=Analysis.revision + 1,
        )
    )
    updated = update_one(session, statement)
    analysis = get(session, analysis_id=analysis_id)
    if not updated:
        raise ConflictError(
            f"Analysis {analysis_id} is {analysis.status.value}; only failed or cancelled analyses "
            "can be retried."
        )
    return analysis


def delete(session: Session, *, analysis_id: uuid.UUID) -> list[uuid.UUID]:
    """Delete a finished analysis with its events; return the event ids, whose files may be cached.

    Raise AnalysisNotFoundError if it does not exist, ConflictError if it is not finished.
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
    """Return the revision of each analysis, None for one that does not exist."""
    query = select(Analysis.id, Analysis.revision).where(Analysis.id.in_(analysis_ids))
    found = {row.id: row.revision for row in session.execute(query)}
    return {analysis_id: found.get(analysis_id) for analysis_id in analysis_ids}


def get_many(session: Session, *, analysis_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Analysis]:
    """Return the analyses that exist, keyed by id."""
    query = select(Analysis).where(Analysis.id.in_(analysis_ids))
    return {analysis.id: analysis for analysis in session.scalars(query)}
