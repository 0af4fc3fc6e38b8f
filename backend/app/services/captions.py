"""The life cycle of an event's caption: claimed, sent, stored, so that none is paid for twice.

An attempt has two steps, each committed before it begins. A *claimed* event's picture is read and
the connection opened; if the process dies, another takes over. It becomes *sending* right before
the first byte is sent; if the process dies from then on, the answer may have been charged, so the
caption has failed and is not asked for again. Each step is one UPDATE whose WHERE clause states the
precondition, as in `app.services.leases`. Callers pass the time.
"""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import CaptionJob, CaptionStatus, MotionEvent
from app.services.gemini import LOST, Answer, Postponed
from app.services.leases import update_one

FINAL = (
    CaptionStatus.DONE,
    CaptionStatus.REFUSED,
    CaptionStatus.EMPTY,
    CaptionStatus.FAILED,
)
# To find or make the picture, and to connect.
PREPARATION = timedelta(minutes=2)
# What a process may take longer than its time-out before it is taken for dead.
MARGIN = timedelta(seconds=60)
# Errors of the server with the same picture after which it is given up.
MAX_ERRORS = 5
MIN_PAUSE_S = 2.0
MAX_PAUSE_S = 600.0
# Longer demands are obeyed for a day, then tried.
MAX_DEMANDED_S = 86_400.0


@dataclass(frozen=True)
class Claim:
    """The right to ask for the caption of one event."""

    event_id: uuid.UUID
    owner: uuid.UUID


def next_claimable(session: Session, *, now: datetime, limit: int) -> uuid.UUID | None:
    """Return the event to ask about next, None if there is none or nothing may be sent now.

    New events come before older ones: those that somebody is looking at do not wait for a backlog.
    """
    job = session.get(CaptionJob, CaptionJob.ROW)
    spent = job.requests if job is not None and job.day >= now.date() else 0
    paused = job is not None and job.paused_until is not None and job.paused_until > now
    if paused or spent >= limit:
        return None
    # Two queries, each of which is one look into the index.
    for condition in (_due(now), MotionEvent.caption_status.is_(None)):
        query = select(MotionEvent.id).where(condition).order_by(MotionEvent.id.desc()).limit(1)
        found = session.scalar(query)
        if found is not None:
            return found
    return None


def _due(now: datetime) -> ColumnElement[bool]:
    retried = (CaptionStatus.WAITING, CaptionStatus.CLAIMED)
    return and_(MotionEvent.caption_status.in_(retried), MotionEvent.caption_due < now)


def claim(session: Session, *, event_id: uuid.UUID, now: datetime) -> Claim | None:
    """Claim an event; return None if another process has, or if it is deleted."""
    made = Claim(event_id, uuid.uuid4())
    free = or_(MotionEvent.caption_status.is_(None), _due(now))
    taken = _write(
        session,
        MotionEvent.id == event_id,
        free,
        caption_status=CaptionStatus.CLAIMED,
        caption_owner=made.owner,
        caption_due=now + PREPARATION,
    )
    return made if taken else None


def begin(session: Session, *, claim: Claim, now: datetime, timeout: timedelta, limit: int) -> bool:
    """Record that the request is about to be sent, and count it.

    Return False if it must not be sent: the claim is lost, the day's requests are used up, or
    another process has been told to wait.
    """
    return _spend(session, now=now, limit=limit) and _write(
        session,
        *_owned(claim, CaptionStatus.CLAIMED),
        caption_status=CaptionStatus.SENDING,
        caption_due=now + timeout + MARGIN,
    )


def finish(session: Session, *, claim: Claim, answer: Answer) -> bool:
    """Store an answer; return False if the event is deleted.

    An answer that arrives after its process was taken for dead is stored, too: it is paid for.
    """
    session.execute(update(CaptionJob).where(CaptionJob.failures > 0).values(failures=0))
    return _write(
        session,
        *_owned(claim, *CaptionStatus),
        caption_status=answer.status,
        caption=answer.text,
        caption_reason=answer.reason,
        caption_due=None,
    )


def postpone(session: Session, *, claim: Claim, now: datetime, result: Postponed) -> float:
    """Ask again later, and send nothing meanwhile; return the pause in seconds.

    An event that may itself be the reason is given up after MAX_ERRORS.
    """
    job = _job(session)
    seconds = _pause(job.failures, demanded=result.delay)
    job.failures += 1
    until = now + timedelta(seconds=seconds)
    job.paused_until = max(until, job.paused_until or until)
    _write(
        session,
        *_owned(claim, CaptionStatus.CLAIMED, CaptionStatus.SENDING),
        caption_status=CaptionStatus.WAITING,
        caption_due=job.paused_until,
        caption_errors=MotionEvent.caption_errors + int(result.blames_picture),
    )
    _write(
        session,
        *_owned(claim, CaptionStatus.WAITING),
        MotionEvent.caption_errors >= MAX_ERRORS,
        caption_status=CaptionStatus.FAILED,
        caption_reason=f"Given up after {MAX_ERRORS} errors.",
        caption_due=None,
    )
    session.flush()
    return seconds


def release(session: Session, *, claim: Claim, now: datetime) -> None:
    """Give back a claim of which nothing has been sent."""
    _write(
        session,
        *_owned(claim, CaptionStatus.CLAIMED),
        caption_status=CaptionStatus.WAITING,
        caption_due=now,
    )


def statistics(session: Session, *, now: datetime) -> tuple[dict[str, int], int]:
    """Return the number of events by the status of their caption, and the requests of today."""
    grouped = session.execute(
        select(MotionEvent.caption_status, func.count()).group_by(MotionEvent.caption_status)
    )
    counts = {"pending": 0} | {status.value: 0 for status in FINAL}
    for status, count in grouped:
        counts[status.value if status in FINAL else "pending"] += count
    job = session.get(CaptionJob, CaptionJob.ROW)
    return counts, job.requests if job is not None and job.day >= now.date() else 0


def any_lost(session: Session, *, now: datetime) -> bool:
    """Return whether a process died while it waited for an answer."""
    return session.scalar(select(MotionEvent.id).where(_lost(now)).limit(1)) is not None


def give_up_lost(session: Session, *, now: datetime) -> int:
    """Give up the captions whose process died while it waited; return how many there are."""
    statement = (
        update(MotionEvent)
        .where(_lost(now))
        .values(caption_status=CaptionStatus.FAILED, caption_reason=LOST, caption_due=None)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - the result type of an UPDATE
    return result.rowcount


def _lost(now: datetime) -> ColumnElement[bool]:
    return and_(MotionEvent.caption_status == CaptionStatus.SENDING, MotionEvent.caption_due < now)


def _owned(claim: Claim, *status: CaptionStatus) -> tuple[ColumnElement[bool], ...]:
    return (
        MotionEvent.id == claim.event_id,
        MotionEvent.caption_owner == claim.owner,
        MotionEvent.caption_status.in_(status),
    )


def _write(session: Session, *conditions: ColumnElement[bool], **values: Any) -> bool:
    return update_one(session, update(MotionEvent).where(*conditions).values(**values))


def _spend(session: Session, *, now: datetime, limit: int) -> bool:
    """Count a request of today; return False if there have been `limit`, or during a pause."""
    _job(session)
    today = now.date()
    session.execute(update(CaptionJob).where(CaptionJob.day < today).values(day=today, requests=0))
    # Not only of this day: another machine's clock may be ahead.
    more = update(CaptionJob).where(
        CaptionJob.requests < limit,
        or_(CaptionJob.paused_until.is_(None), CaptionJob.paused_until <= now),
    )
    return update_one(session, more.values(requests=CaptionJob.requests + 1))


def _job(session: Session) -> CaptionJob:
    """Return the row, which the first process adds."""
    job = session.get(CaptionJob, CaptionJob.ROW, populate_existing=True)
    if job is None:
        try:
            with session.begin_nested():
                session.add(CaptionJob(id=CaptionJob.ROW))
        except IntegrityError:  # another process has been faster
            pass
        job = session.get_one(CaptionJob, CaptionJob.ROW)
    return job


def _pause(failures: int, *, demanded: float | None) -> float:
    """Return how long to wait after so many failures in a row before this one."""
    doubled = min(MIN_PAUSE_S * 2.0 ** min(failures, 30), MAX_PAUSE_S)
    spread = random.uniform(1, 1.25)  # noqa: S311 - only keeps processes apart
    return max(doubled, min(demanded or 0.0, MAX_DEMANDED_S)) * spread
