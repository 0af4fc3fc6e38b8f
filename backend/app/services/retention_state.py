"""The state that all processes share when old videos are removed: lease and trusted clock.

A clock that is wrong for a while must not make every video old. So what is due by age is left alone
while the clock is doubted: after it went back, or on by more than GAP between two runs, until HOLD
has passed by the new clock or the former time is back. A service that was stopped for longer than
GAP cannot be told from a clock that jumped, and waits as well.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ScalarSelect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import Database
from app.models import RetentionState
from app.services.leases import update_one

LEASE = timedelta(minutes=5)
GAP = timedelta(days=1)
HOLD = timedelta(days=1)
# The clocks of several hosts differ by less, and so does one that is corrected now and then.
SLACK = timedelta(minutes=5)
_ID = uuid.UUID(int=0)


@dataclass(frozen=True)
class Claim:
    """The exclusive right to remove videos while it is renewed."""

    owner: uuid.UUID
    held_until: datetime | None
    """Until when nothing is removed by age; None if the clock is trusted."""


def claim(database: Database, *, now: datetime) -> Claim | None:
    """Return the right to remove videos, or None if another process has it."""
    owner = uuid.uuid4()
    try:
        with database.writing() as session:
            row = session.get(RetentionState, _ID, with_for_update=True)
            if row is None:
                row = RetentionState(id=_ID, checked_at=now, trusted_at=now)
                session.add(row)
            # A lease far in the future was made by a clock that has gone back since.
            elif row.lease_until is not None and now < row.lease_until <= now + 2 * LEASE:
                return None
            _judge(row, now)
            row.lease_owner, row.lease_until = owner, now + LEASE
            return Claim(owner, _held_until(row))
    except IntegrityError:  # two first runs at the same time
        return None


def _judge(row: RetentionState, now: datetime) -> None:
    if row.doubted_at is not None and row.trusted_at - SLACK <= now <= row.trusted_at + GAP:
        row.doubted_at = None
    elif not -SLACK <= now - row.checked_at <= GAP:
        row.doubted_at = now
    elif row.doubted_at is not None and now - row.doubted_at >= HOLD:
        row.doubted_at = None
    if row.doubted_at is None:
        row.trusted_at = now
    row.checked_at = now


def _held_until(row: RetentionState) -> datetime | None:
    return None if row.doubted_at is None else row.doubted_at + HOLD


def renew(session: Session, *, claim: Claim, now: datetime, by_age: bool, size: int) -> bool:
    """Extend the lease and count a removed video; return False if the lease was lost."""
    counter = RetentionState.removed_by_age if by_age else RetentionState.removed_by_size
    statement = (
        update(RetentionState)
        .where(RetentionState.id == _ID, RetentionState.lease_owner == claim.owner)
        .values(
            {
                "lease_until": now + LEASE,
                counter.key: counter + 1,
                "removed_bytes": RetentionState.removed_bytes + size,
            }
        )
    )
    return update_one(session, statement)


def release(database: Database, *, claim: Claim) -> None:
    """Give the lease back, unless it was lost."""
    statement = (
        update(RetentionState)
        .where(RetentionState.id == _ID, RetentionState.lease_owner == claim.owner)
        .values(lease_owner=None, lease_until=None)
    )
    with database.writing() as session:
        update_one(session, statement)


def read(session: Session) -> RetentionState | None:
    """Return the state; None before the first run."""
    return session.get(RetentionState, _ID)


def held_until(session: Session) -> datetime | None:
    """Return until when nothing is removed by age, as of the latest run."""
    row = read(session)
    return None if row is None else _held_until(row)


def start_of_age() -> ScalarSelect[datetime]:
    """Return since when the age of a video that is stored now counts; NULL means now.

    If the clock has gone back, now is long ago as soon as it is right again.
    """
    return (
        select(RetentionState.trusted_at)
        .where(RetentionState.id == _ID, RetentionState.trusted_at > datetime.now(UTC) + SLACK)
        .scalar_subquery()
    )
