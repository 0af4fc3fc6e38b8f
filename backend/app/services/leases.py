"""The life of an analysis: queued, claimed under a lease, then done or failed, exactly once.

Each step is one UPDATE whose WHERE clause states what must still be true, so that two workers, or
one task delivered twice, cannot both succeed. Times come from the caller. Every visible change
raises `revision`, which is what live progress follows.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Update, and_, or_, select, update
from sqlalchemy.orm import Session

from app.models import Analysis, AnalysisStatus, MotionEvent
from app.services import parameters as stored_parameters
from app.services.results import Findings
from app.video import Parameters


@dataclass(frozen=True)
class Claim:
    """The right to carry out one analysis, as long as its lease is renewed."""

    analysis_id: uuid.UUID
    video_id: uuid.UUID
    owner: uuid.UUID
    attempt: int
    parameters: Parameters


def _free(now: datetime) -> ColumnElement[bool]:
    """Match what a worker may claim: queued, or abandoned by a worker that fell silent."""
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


def changed(session: Session, statement: Update) -> bool:
    """Tell whether the statement has found its row."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)  # noqa: S101  (what an UPDATE returns)
    return result.rowcount == 1


def unfinished(session: Session) -> bool:
    """Tell whether any analysis is queued or running."""
    waiting = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)
    return (
        session.scalar(select(Analysis.id).where(Analysis.status.in_(waiting)).limit(1)) is not None
    )


def next_free(session: Session, *, now: datetime) -> uuid.UUID | None:
    """Return the oldest analysis that waits for a worker."""
    query = select(Analysis.id).where(_free(now)).order_by(Analysis.id).limit(1)
    return session.scalar(query)


def claim(
    session: Session,
    *,
    analysis_id: uuid.UUID,
    now: datetime,
    lease: timedelta,
    max_attempts: int,
) -> Claim | None:
    """Take an analysis, or return None because it is finished, held by another, gone or hopeless.

    One whose worker has died `max_attempts` times becomes failed here, so that a video that kills
    its workers cannot do so for ever.
    """
    hopeless = (
        update(Analysis)
        .where(Analysis.id == analysis_id, _free(now), Analysis.attempts >= max_attempts)
        .values(
            status=AnalysisStatus.FAILED,
            reason=f"given up: the worker died during each of {max_attempts} attempts",
            **ended(now),
        )
    )
    if changed(session, hopeless):
        return None
    owner = uuid.uuid4()
    taken = (
        update(Analysis)
        .where(Analysis.id == analysis_id, _free(now))
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
    if not changed(session, taken):
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
    """Extend the lease and note how far the work is (0 to 1, None for no change).

    False when the claim was lost: cancelled, taken over, or the video deleted.
    """
    values: dict[str, Any] = {"lease_until": now + lease}
    if progress is not None:
        values |= {"progress": progress, "revision": Analysis.revision + 1}
    return changed(session, update(Analysis).where(_owned(claim)).values(**values))


def complete(session: Session, *, claim: Claim, now: datetime, findings: Findings) -> bool:
    """Store what was found; False when the claim was lost and the findings must be dropped."""
    kept = _finish(
        session,
        claim,
        status=AnalysisStatus.DONE,
        now=now,
        result=findings.result,
        timeline=findings.timeline,
        event_count=len(findings.events),
        progress=1.0,
    )
    if kept:
        session.add_all(
            MotionEvent(analysis_id=claim.analysis_id, **values) for values in findings.events
        )
        session.flush()
    return kept


def fail(session: Session, *, claim: Claim, now: datetime, reason: str) -> bool:
    """Store why there is no result; False when the claim was lost."""
    return _finish(session, claim, status=AnalysisStatus.FAILED, now=now, reason=reason)


def _finish(session: Session, claim: Claim, *, now: datetime, **values: Any) -> bool:
    statement = update(Analysis).where(_owned(claim))
    return changed(session, statement.values(**ended(now), **values))


def ended(now: datetime) -> dict[str, Any]:
    """Return what an analysis's row holds once nobody works on it any more."""
    return {
        "finished_at": now,
        "lease_owner": None,
        "lease_until": None,
        "revision": Analysis.revision + 1,
    }


def release(session: Session, *, claim: Claim) -> bool:
    """Hand an analysis back because the worker stops in good order; the attempt does not count."""
    statement = update(Analysis).where(_owned(claim))
    return changed(
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
    """Free every running analysis; for whoever knows that no worker runs (`app.embedded`)."""
    statement = (
        update(Analysis)
        .where(Analysis.status == AnalysisStatus.RUNNING)
        .values(lease_until=now - timedelta(seconds=1))
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101  (what an UPDATE returns)
    return result.rowcount


def undispatched(
    session: Session, *, now: datetime, again_after: timedelta, limit: int
) -> Sequence[uuid.UUID]:
    """Return what the broker should hear of: never told, or told long ago and still not taken."""
    told = Analysis.dispatched_at
    silent = or_(told.is_(None), told < now - again_after)
    # The message of a dead worker comes back by itself only after the visibility timeout.
    abandoned = and_(Analysis.status == AnalysisStatus.RUNNING, told < Analysis.lease_until)
    query = (
        select(Analysis.id)
        .where(_free(now), or_(silent, abandoned))
        .order_by(Analysis.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def mark_dispatched(session: Session, *, analysis_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Note that the broker has been told."""
    session.execute(
        update(Analysis)
        .where(Analysis.id.in_(analysis_ids))
        .values(dispatched_at=now)
        .execution_options(synchronize_session=False)
    )
