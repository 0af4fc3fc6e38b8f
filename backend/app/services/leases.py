"""The life cycle of an analysis: queued, claimed under a lease, then done or failed, exactly once.

Each step is one UPDATE whose WHERE clause states the precondition, so that of two workers, or of
one task delivered twice, only one can succeed. Callers pass the time. Every visible change
increments `revision`, which live progress follows.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Update, and_, func, or_, select, update
from sqlalchemy.orm import Session

from app.models import Analysis, AnalysisStatus, MotionEvent, Video
from app.services import outbox
from app.services import parameters as stored_parameters
from app.services.results import Findings
from app.video import Parameters


@dataclass(frozen=True)
class Claim:
    """The exclusive right to run one analysis while its lease is renewed."""

    analysis_id: uuid.UUID
    video_id: uuid.UUID
    owner: uuid.UUID
    attempt: int
    parameters: Parameters


def _claimable(now: datetime) -> ColumnElement[bool]:
    """Match analyses that a worker may claim: queued, or running with an expired lease."""
    return or_(
        Analysis.status == AnalysisStatus.QUEUED,
        and_(Analysis.status == AnalysisStatus.RUNNING, Analysis.lease_until < now),
    )


def _owned(claim: Claim) -> ColumnElement[bool]:
    return and_(
        Analysis.id == claim.analysis_id,
        Analysis.status == AnalysisStatus.RUNNING,
        Analysis.lease_owner == claim.owner,
    )


def update_one(session: Session, statement: Update) -> bool:
    """Execute the statement and return whether it matched a row."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)  # noqa: S101 - the result type of an UPDATE
    return result.rowcount == 1


def any_unfinished(session: Session) -> bool:
    """Return whether any analysis is queued or running."""
    unfinished = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)
    query = select(Analysis.id).where(Analysis.status.in_(unfinished)).limit(1)
    return session.scalar(query) is not None


def next_claimable(session: Session, *, now: datetime) -> uuid.UUID | None:
    """Return the id of the analysis that a worker is to claim next.

    Clients take turns: it is the oldest one of the client that was served the longest ago.
    """
    waiting = (
        select(Analysis.client, func.min(Analysis.requested_at).label("since"))
        .where(_claimable(now))
        .group_by(Analysis.client)
    )
    since = {row.client: row.since for row in session.execute(waiting)}
    query = select(Analysis.id).where(_claimable(now)).order_by(Analysis.id).limit(1)
    if len(since) > 1:
        started = (
            select(Analysis.client, func.max(Analysis.started_at).label("last"))
            .where(or_(Analysis.client.in_(since), Analysis.client.is_(None)))
            .group_by(Analysis.client)
        )
        last = {row.client: row.last for row in session.execute(started)}
        never = datetime.min.replace(tzinfo=UTC)
        chosen = min(since, key=lambda client: (last.get(client) or never, since[client]))
        query = query.where(Analysis.client.is_not_distinct_from(chosen))
    return session.scalar(query)


def claim(
    session: Session,
    *,
    analysis_id: uuid.UUID,
    now: datetime,
    lease: timedelta,
    max_attempts: int,
) -> Claim | None:
    """Claim an analysis; return None if it is finished, claimed, deleted or out of attempts.

    An analysis whose worker has died `max_attempts` times is failed here, so that a video that
    crashes its workers cannot do so forever.
    """
    give_up = (
        update(Analysis)
        .where(Analysis.id == analysis_id, _claimable(now), Analysis.attempts >= max_attempts)
        .values(
            status=AnalysisStatus.FAILED,
            reason=f"gave up: the worker died in each of {max_attempts} attempts",
            **ended_values(now),
        )
    )
    if update_one(session, give_up):
        outbox.analysis_failed(session, analysis_id=analysis_id, now=now)
        return None
    owner = uuid.uuid4()
    take = (
        update(Analysis)
        .where(Analysis.id == analysis_id, _claimable(now))
        .values(
            status=AnalysisStatus.RUNNING,
            attempts=Analysis.attempts + 1,
            lease_owner=owner,
            lease_until=now + lease,
            started_at=now,
            progress=0.0,
            revision=Analysis.revision + 1,
        )
    )
    if not update_one(session, take):
        return None
    row = session.execute(
        select(Analysis.video_id, Analysis.attempts, Analysis.parameters).where(
            Analysis.id == analysis_id
        )
    ).one()
    return Claim(
        analysis_id=analysis_id,
        video_id=row.video_id,
        owner=owner,
        attempt=row.attempts,
        parameters=stored_parameters.from_json(row.parameters),
    )


def renew(
    session: Session, *, claim: Claim, now: datetime, lease: timedelta, progress: float | None
) -> bool:
    """Extend the lease and record progress (0 to 1, None for no change).

    Return False if the claim was lost: cancelled, taken over, or the video deleted.
    """
    values: dict[str, Any] = {"lease_until": now + lease}
    if progress is not None:
        values |= {"progress": progress, "revision": Analysis.revision + 1}
    return update_one(session, update(Analysis).where(_owned(claim)).values(**values))


def complete(session: Session, *, claim: Claim, now: datetime, findings: Findings) -> bool:
    """Store the findings; return False if the claim was lost and they must be discarded."""
    stored = _finish(
        session,
        claim,
        status=AnalysisStatus.DONE,
        now=now,
        result=findings.result,
        timeline=findings.timeline,
        event_count=len(findings.events),
        warning=findings.warning,
        detail=findings.detail,
        progress=1.0,
    )
    if stored:
        _update_video(session, claim.video_id, findings=findings)
        session.add_all(
            MotionEvent(analysis_id=claim.analysis_id, **values) for values in findings.events
        )
        session.flush()
        outbox.analysis_done(session, analysis_id=claim.analysis_id, now=now)
    return stored


def _update_video(session: Session, video_id: uuid.UUID, *, findings: Findings) -> None:
    """Replace the announced duration by the decoded one; record the preview."""
    values: dict[str, Any] = {}
    if findings.result.get("duration") is not None:
        values["duration"] = findings.result["duration"]
    if findings.has_preview:
        values["has_preview"] = True
    if values:
        session.execute(
            update(Video)
            .where(Video.id == video_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )


def fail(
    session: Session, *, claim: Claim, now: datetime, reason: str, detail: str | None = None
) -> bool:
    """Store the reason for the failure; return False if the claim was lost."""
    stored = _finish(
        session, claim, status=AnalysisStatus.FAILED, now=now, reason=reason, detail=detail
    )
    if stored:
        outbox.analysis_failed(session, analysis_id=claim.analysis_id, now=now)
    return stored


def _finish(session: Session, claim: Claim, *, now: datetime, **values: Any) -> bool:
    statement = update(Analysis).where(_owned(claim))
    return update_one(session, statement.values(**ended_values(now), **values))


def ended_values(now: datetime) -> dict[str, Any]:
    """Return the column values that end an analysis."""
    return {
        "finished_at": now,
        "lease_owner": None,
        "lease_until": None,
        "revision": Analysis.revision + 1,
    }


def release(session: Session, *, claim: Claim) -> bool:
    """Requeue an analysis because its worker is shutting down; the attempt does not count."""
    statement = update(Analysis).where(_owned(claim))
    return update_one(
        session,
        statement.values(
            status=AnalysisStatus.QUEUED,
            attempts=Analysis.attempts - 1,
            lease_owner=None,
            lease_until=None,
            started_at=None,
            progress=None,
            dispatched_at=None,
            revision=Analysis.revision + 1,
        ),
    )


def expire_leases(session: Session, *, now: datetime) -> int:
    """Expire the lease of every running analysis; only for a caller that knows no worker runs."""
    statement = (
        update(Analysis)
        .where(Analysis.status == AnalysisStatus.RUNNING)
        .values(lease_until=now - timedelta(seconds=1))
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - the result type of an UPDATE
    return result.rowcount


def undispatched(
    session: Session, *, now: datetime, again_after: timedelta, limit: int
) -> Sequence[uuid.UUID]:
    """Return ids to publish: never dispatched, or dispatched long ago and still not claimed."""
    dispatched_at = Analysis.dispatched_at
    due = or_(dispatched_at.is_(None), dispatched_at < now - again_after)
    # The broker redelivers a dead worker's message only after the visibility timeout.
    abandoned = and_(
        Analysis.status == AnalysisStatus.RUNNING, dispatched_at < Analysis.lease_until
    )
    query = (
        select(Analysis.id)
        .where(_claimable(now), or_(due, abandoned))
        .order_by(Analysis.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def mark_dispatched(session: Session, *, analysis_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Record that these analyses have been published to the broker."""
    session.execute(
        update(Analysis)
        .where(Analysis.id.in_(analysis_ids))
        .values(dispatched_at=now)
        .execution_options(synchronize_session=False)
    )
