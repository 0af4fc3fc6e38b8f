"""Carries out one analysis, whoever asks for it: the embedded worker or a Celery task.

Safe to call any number of times with the same id: the claim in the database decides. While the
video is read, a small thread renews the lease and writes down the progress; when the claim is lost
(cancelled, deleted, taken over), the work stops and its findings are dropped.
"""

import enum
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

# How often progress is written, and therefore how soon a cancelled analysis stops.
BEAT_S = 1.0
# Findings are worth waiting for a database that is being restarted.
PATIENCE = timedelta(minutes=5)
RETRY_S = 1.0


class Outcome(enum.StrEnum):
    """How a call ended."""

    DONE = "done"
    FAILED = "failed"
    NOT_OURS = "not_ours"
    """Finished already, held by another worker, or deleted: nothing was done."""
    LOST = "lost"
    """The claim was lost on the way; the result was dropped."""
    HANDED_BACK = "handed_back"
    """The worker is stopping; another will start again."""


class _StoppingError(Exception):
    """The worker was asked to stop."""


class _ClaimLostError(Exception):
    """The lease could not be renewed."""


@dataclass
class _Course:
    """What the analysing thread and the one that renews the lease tell each other."""

    progress: float = 0.0
    lost: threading.Event = field(default_factory=threading.Event)


class AnalysisRunner:
    """Everything an analysis needs, built once per process."""

    def __init__(self, *, settings: Settings, database: Database, storage: Storage) -> None:
        """Keep the parts; nothing is opened."""
        self._settings = settings
        self._database = database
        self._storage = storage

    def run(self, analysis_id: uuid.UUID, *, stopping: Callable[[], bool]) -> Outcome:
        """Claim, look at the video, store the result; hand back if `stopping()` becomes true.

        Raises SQLAlchemyError when the database fails; the lease then runs out by itself.
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
            event("analysis.not_ours", analysis_id=analysis_id)
            return Outcome.NOT_OURS
        event("analysis.started", analysis_id=analysis_id, attempt=claim.attempt)
        began = time.monotonic()
        outcome = self._carry_out(claim, stopping=stopping)
        event(
            "analysis.ended",
            analysis_id=analysis_id,
            outcome=outcome.value,
            seconds=round(time.monotonic() - began, 2),
        )
        return outcome

    def _carry_out(self, claim: Claim, *, stopping: Callable[[], bool]) -> Outcome:
        try:
            with self._lease_kept(claim) as course:
                found = self._look(claim, stopping=stopping, course=course)
                return self._keep(
                    lambda session: leases.complete(
                        session, claim=claim, now=utc_now(), findings=results.findings(found)
                    ),
                    Outcome.DONE,
                )
        except _ClaimLostError:
            return Outcome.LOST
        except _StoppingError:
            return self._keep(
                lambda session: leases.release(session, claim=claim), Outcome.HANDED_BACK
            )
        except (MemoryError, MemoryLimitError):
            allowed = f"{self._settings.analysis_memory >> 20} MiB allowed (ANALYSIS_MEMORY)"
            return self._fail(claim, reason=f"the analysis needs more memory than the {allowed}")
        except VideoError as error:
            return self._fail(claim, reason=str(error))
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 -- one video must not end the worker
            # Unforeseen, such as cv2.error. The person waiting gets an answer, the log the cause.
            event("analysis.crashed", level=40, exc_info=True, analysis_id=claim.analysis_id)
            return self._fail(claim, reason=f"internal error: {type(error).__name__}")

    def _look(self, claim: Claim, *, stopping: Callable[[], bool], course: _Course) -> Analysis:
        def checkpoint() -> None:
            if course.lost.is_set():
                raise _ClaimLostError
            if stopping():
                raise _StoppingError

        def progress(share: float) -> None:
            course.progress = share

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
        return self._keep(
            lambda session: leases.fail(session, claim=claim, now=utc_now(), reason=reason),
            Outcome.FAILED,
        )

    def _keep(self, write: Callable[[Session], bool], outcome: Outcome) -> Outcome:
        """Write how it ended, waiting for a database that is away; LOST if the claim was."""
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while True:
            try:
                with self._database.writing() as session:
                    return outcome if write(session) else Outcome.LOST
            except (OperationalError, InterfaceError):
                if time.monotonic() > deadline:
                    raise
                event("analysis.write_failed", level=30, exc_info=True)
                time.sleep(RETRY_S)

    @contextmanager
    def _lease_kept(self, claim: Claim) -> Iterator[_Course]:
        """Renew the lease and write progress in the background, as long as the block runs."""
        course, ended = _Course(), threading.Event()
        thread = threading.Thread(
            target=self._renew, args=(claim, course, ended), name="lease", daemon=True
        )
        thread.start()
        try:
            yield course
        finally:
            ended.set()
            thread.join()

    def _renew(self, claim: Claim, course: _Course, ended: threading.Event) -> None:
        lease = self._settings.lease
        beat = min(BEAT_S, lease.total_seconds() / 3)
        written, reachable = 0.0, True
        while not ended.wait(beat):
            progress = course.progress
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
                # The database may come back before the lease runs out; if not, the final UPDATE
                # finds another owner and the result is dropped.
                if reachable:
                    event("analysis.renewal_failed", level=30, analysis_id=claim.analysis_id)
                reachable = False
                continue
            written, reachable = progress, True
            if not kept:
                course.lost.set()
                return
