"""Remove the oldest videos: those older than an age, and those beyond a total size.

Oldest first, by the time since which their age counts (`Video.retained_from`, otherwise
`created_at`), then by id. Left alone are videos that are pinned, younger than YOUNG, have an
unfinished analysis, or are being read. Each is removed in a transaction of its own, so a crash at
any point leaves whole videos, and other writers get their turn in between.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from sqlalchemy import ColumnElement, exists, false, func, or_, select, update
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import VideoNotFoundError
from app.models import Analysis, Video
from app.models.base import utc_now
from app.services import removal, retention_state
from app.services.leases import update_one
from app.services.quotas import UNFINISHED
from app.services.readers import Readers
from app.services.retention_state import Claim
from app.services.storage import Storage

# Whoever stores a video may look at it, even if it is beyond the total size.
YOUNG = timedelta(hours=1)
_PAGE = 200
_MAX_PAUSE_S = 1.0
_since = func.coalesce(Video.retained_from, Video.created_at)


@dataclass(frozen=True)
class Policy:
    """What to keep; None means no limit."""

    age: timedelta | None = None
    bytes: int | None = None
    """Of all stored files as uploaded, without pictures and previews."""

    @property
    def enabled(self) -> bool:
        """Return whether there is a limit."""
        return self.age is not None or self.bytes is not None


@dataclass(frozen=True)
class Due:
    """A video that retention removes, and why."""

    video_id: uuid.UUID
    filename: str
    size: int
    created_at: datetime
    since: datetime
    """Since when its age counts."""
    reason: Literal["age", "size"]
    in_use: bool = False


@dataclass(frozen=True)
class VideoRetention:
    """What retention will do to one video."""

    pinned: bool
    remove_at: datetime | None
    """When it becomes too old; None if it never does."""


class RetentionBusyError(Exception):
    """Another process is removing videos."""


class _RefusedError(Exception):
    """A video may no longer be removed."""


class _LeaseLostError(Exception):
    """Another process removes videos now."""


def _removable(now: datetime) -> ColumnElement[bool]:
    analysed = exists().where(Analysis.video_id == Video.id, Analysis.status.in_(UNFINISHED))
    return (Video.pinned == false()) & (_since <= now - YOUNG) & ~analysed


def _oldest(session: Session, *, now: datetime) -> Iterator[Due]:
    """Yield all removable videos, oldest first; read a page at a time, and hold no lock."""
    after: tuple[datetime, uuid.UUID] | None = None
    while True:
        query = select(
            Video.id, Video.filename, Video.size, Video.created_at, _since.label("since")
        ).where(_removable(now))
        if after is not None:
            query = query.where(
                or_(_since > after[0], (_since == after[0]) & (Video.id > after[1]))
            )
        rows = session.execute(query.order_by(_since, Video.id).limit(_PAGE)).all()
        session.rollback()  # SQLite's log cannot be truncated while a reader is in a transaction
        for row in rows:
            yield Due(row.id, row.filename, row.size, row.created_at, row.since, "size")
        if len(rows) < _PAGE:
            return
        after = rows[-1].since, rows[-1].id


def stored_bytes(session: Session) -> int:
    """Return the total size of all videos."""
    return int(session.scalar(select(func.coalesce(func.sum(Video.size), 0))) or 0)


class Retention:
    """Lists and removes what a policy does not keep."""

    def __init__(
        self, *, database: Database, storage: Storage, readers: Readers, policy: Policy
    ) -> None:
        """Store the dependencies."""
        self._database = database
        self._storage = storage
        self._readers = readers
        self.policy = policy

    def due(self, *, now: datetime, limit: int | None = None) -> Sequence[Due]:
        """Return what a run would remove at `now` if its clock is trusted, oldest first."""
        with self._database.reading() as session:
            found = self._due(session, now=now, by_age=True, left=set())
            return list(islice(found, limit))

    def run(
        self,
        *,
        clock: Callable[[], datetime] = utc_now,
        stopping: Callable[[], bool] = lambda: False,
        held: Callable[[datetime], None] | None = None,
    ) -> Iterator[Due]:
        """Remove what is due; yield each removed video.

        If the clock is doubted, call `held` with the time until which nothing is removed by age;
        without `held` the clock is trusted. Raise RetentionBusyError.
        """
        now = clock()
        claim = retention_state.claim(self._database, now=now)
        if claim is None:
            raise RetentionBusyError("another process is removing videos; try again later")
        by_age = held is None or claim.held_until is None
        try:
            if held is not None and claim.held_until is not None:
                held(claim.held_until)
            yield from self._remove_all(claim, now=now, by_age=by_age, clock=clock, stop=stopping)
        except _LeaseLostError:
            return
        finally:
            retention_state.release(self._database, claim=claim)

    def _remove_all(
        self,
        claim: Claim,
        *,
        now: datetime,
        by_age: bool,
        clock: Callable[[], datetime],
        stop: Callable[[], bool],
    ) -> Iterator[Due]:
        left = set[uuid.UUID]()
        with self._database.reading() as session:
            for due in self._due(session, now=now, by_age=by_age, left=left):
                if stop():
                    return
                began = time.monotonic()
                if self._remove(due, claim=claim, now=now, clock=clock):
                    yield due
                else:
                    left.add(due.video_id)
                # Other writers wait for SQLite's lock by polling: leave it free half of the time.
                time.sleep(min(time.monotonic() - began, _MAX_PAUSE_S))

    def _due(
        self, session: Session, *, now: datetime, by_age: bool, left: set[uuid.UUID]
    ) -> Iterator[Due]:
        """Yield what is due. Videos that the caller adds to `left` still count to the total."""
        excess = 0
        if self.policy.bytes is not None:
            excess = stored_bytes(session) - self.policy.bytes
        limit = now - self.policy.age if by_age and self.policy.age is not None else None
        for video in _oldest(session, now=now):
            if limit is not None and video.since <= limit:
                reason: Literal["age", "size"] = "age"
            elif excess > 0:
                reason = "size"
            else:
                return
            with self._readers.excluded(video.video_id) as free:
                in_use = not free
            yield replace(video, reason=reason, in_use=in_use)
            if not in_use and video.video_id not in left:
                excess -= video.size

    def _remove(
        self, due: Due, *, claim: Claim, now: datetime, clock: Callable[[], datetime]
    ) -> bool:
        """Remove one video; return whether it was possible."""

        def allow(session: Session) -> None:
            if not retention_state.renew(
                session, claim=claim, now=clock(), by_age=due.reason == "age", size=due.size
            ):
                raise _LeaseLostError
            still = select(Video.id).where(Video.id == due.video_id, _removable(now))
            # Locked, so that no analysis can be requested before it is gone.
            if session.scalar(still.with_for_update(of=Video)) is None:
                raise _RefusedError

        with self._readers.excluded(due.video_id) as free:
            if not free:
                return False
            try:
                removal.remove(
                    self._database, storage=self._storage, video_id=due.video_id, allow=allow
                )
            except (_RefusedError, VideoNotFoundError):
                return False
        return True


def of_video(session: Session, *, video_id: uuid.UUID, policy: Policy) -> VideoRetention:
    """Return what retention will do to a video. Raise VideoNotFoundError if it does not exist."""
    query = select(Video.pinned, _since.label("since")).where(Video.id == video_id)
    row = session.execute(query).first()
    if row is None:
        raise VideoNotFoundError(f"Video {video_id} does not exist.")
    due = None if row.pinned or policy.age is None else row.since + policy.age
    return VideoRetention(pinned=row.pinned, remove_at=due)


def pin(session: Session, *, video_id: uuid.UUID, pinned: bool) -> None:
    """Let retention leave a video alone, or not any more. Raise VideoNotFoundError."""
    if not update_one(session, update(Video).where(Video.id == video_id).values(pinned=pinned)):
        raise VideoNotFoundError(f"Video {video_id} does not exist.")
