"""Run one analysis, for the embedded worker and for the Celery task alike.

Safe to call any number of times with the same id: the claim in the database decides. While the
video is read, a thread renews the lease and records progress. When the claim is lost (cancelled,
deleted, taken over), the work stops and its results are discarded.
"""

import enum
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import leases, results
from app.services.leases import Claim
from app.services.storage import Storage
from app.settings import Settings
from app.video import Analysis, Limits, MemoryLimitError, Tools, VideoError, analyse

# Interval between progress updates; also how quickly a cancelled analysis stops.
HEARTBEAT_S = 1.0
# How long to retry storing results while the database is down, for example restarting.
STORE_TIMEOUT = timedelta(minutes=5)
RETRY_S = 1.0


class Outcome(enum.StrEnum):
    """How a run ended."""

    DONE = "done"
    FAILED = "failed"
    NOT_CLAIMED = "not_claimed"
    """Already finished, claimed by another worker, or deleted; nothing was done."""
    LOST = "lost"
    """The claim was lost during the run; the result was discarded."""
    HANDED_BACK = "handed_back"
    """The worker is stopping; another one will start over."""


class _StoppingError(Exception):
    """The worker was asked to stop."""


class _ClaimLostError(Exception):
    """The lease could not be renewed."""


@dataclass
class _RunState:
    """State shared by the analysing thread and the thread that renews the lease."""

    progress: float = 0.0
    lost: threading.Event = field(default_factory=threading.Event)


class AnalysisRunner:
    """Run analyses; built once per process."""

    def __init__(self, *, settings: Settings, database: Database, storage: Storage) -> None:
        """Store the dependencies; open nothing."""
        self._settings = settings
        self._database = database
        self._storage = storage

    def run(self, analysis_id: uuid.UUID, *, stopping: Callable[[], bool]) -> Outcome:
        """Claim the analysis, analyse the video, store the result.

        Hand the analysis back if `stopping()` becomes true. Raise SQLAlchemyError if the database
        fails; the lease then expires.
        """
        with self._database.writing() as session:
            claim = leases.claim(
                session,
                analysis_id=analysis_id,
                now=utc_now(),
                lease=self._settings.lease,
                max_attempts=self._settings.analysis_attempts,
            )
        if claim is None:
            event("analysis.not_claimed", analysis_id=analysis_id)
            return Outcome.NOT_CLAIMED
        event("analysis.started", analysis_id=analysis_id, attempt=claim.attempt)
        started_at = time.monotonic()
        outcome = self._run_claimed(claim, stopping=stopping)
        event(
            "analysis.ended",
            analysis_id=analysis_id,
            outcome=outcome.value,
            seconds=round(time.monotonic() - started_at, 2),
        )
        return outcome

    def _run_claimed(self, claim: Claim, *, stopping: Callable[[], bool]) -> Outcome:
        try:
            with self._renewing_lease(claim) as state:
                result = self._analyse(claim, stopping=stopping, state=state)
                return self._store(
                    lambda session: leases.complete(
                        session, claim=claim, now=utc_now(), findings=results.to_findings(result)
                    ),
                    Outcome.DONE,
                )
        except _ClaimLostError:
            return Outcome.LOST
        except _StoppingError:
            return self._store(
                lambda session: leases.release(session, claim=claim), Outcome.HANDED_BACK
            )
        except (MemoryError, MemoryLimitError):
            limit = f"{self._settings.analysis_memory >> 20} MiB (ANALYSIS_MEMORY)"
            return self._fail(claim, reason=f"the analysis exceeded the memory limit of {limit}")
        except VideoError as error:
            return self._fail(claim, reason=str(error))
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 - one video must not stop the worker
            # Unexpected, for example cv2.error. The user gets a short reason, the log the cause.
            event(
                "analysis.crashed",
                level=logging.ERROR,
                exc_info=True,
                analysis_id=claim.analysis_id,
            )
            return self._fail(claim, reason=f"internal error: {type(error).__name__}")

    def _analyse(self, claim: Claim, *, stopping: Callable[[], bool], state: _RunState) -> Analysis:
        def checkpoint() -> None:
            if state.lost.is_set():
                raise _ClaimLostError
            if stopping():
                raise _StoppingError

        def progress(share: float) -> None:
            state.progress = share

        settings = self._settings
        return analyse(
            self._storage.path(claim.video_id),
            tools=Tools(ffmpeg=settings.ffmpeg, ffprobe=settings.ffprobe),
            parameters=claim.parameters,
            limits=Limits(
                memory=int(settings.analysis_memory),
                wall_time=settings.analysis_timeout.total_seconds(),
                duration=Fraction(settings.max_duration.total_seconds()),
            ),
            progress=progress,
            checkpoint=checkpoint,
        )

    def _fail(self, claim: Claim, *, reason: str) -> Outcome:
        return self._store(
            lambda session: leases.fail(session, claim=claim, now=utc_now(), reason=reason),
            Outcome.FAILED,
        )

    def _store(self, write: Callable[[Session], bool], outcome: Outcome) -> Outcome:
        """Store the outcome, retrying while the database is down; return LOST without a claim."""
        deadline = time.monotonic() + STORE_TIMEOUT.total_seconds()
        while True:
            try:
                with self._database.writing() as session:
                    return outcome if write(session) else Outcome.LOST
            except (OperationalError, InterfaceError):
                if time.monotonic() > deadline:
                    raise
                event("analysis.write_failed", level=logging.WARNING, exc_info=True)
                time.sleep(RETRY_S)

    @contextmanager
    def _renewing_lease(self, claim: Claim) -> Iterator[_RunState]:
        """Renew the lease and record progress in the background while the block runs."""
        state, done = _RunState(), threading.Event()
        thread = threading.Thread(
            target=self._renew, args=(claim, state, done), name="lease", daemon=True
        )
        thread.start()
        try:
            yield state
        finally:
            done.set()
            thread.join()

    def _renew(self, claim: Claim, state: _RunState, done: threading.Event) -> None:
        lease = self._settings.lease
        interval = min(HEARTBEAT_S, lease.total_seconds() / 3)
        written, reachable = 0.0, True
        while not done.wait(interval):
            progress = state.progress
            try:
                with self._database.writing() as session:
                    kept = leases.renew(
                        session,
                        claim=claim,
                        now=utc_now(),
                        lease=lease,
                        progress=progress if progress != written else None,
                    )
            except DBAPIError:
                # The database may recover before the lease expires. If not, the final UPDATE finds
                # another owner and the result is discarded.
                if reachable:
                    event(
                        "analysis.renewal_failed",
                        level=logging.WARNING,
                        analysis_id=claim.analysis_id,
                    )
                reachable = False
                continue
            written, reachable = progress, True
            if not kept:
                state.lost.set()
                return
