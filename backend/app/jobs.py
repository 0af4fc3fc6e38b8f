"""Carries out one analysis, whoever asks for it: the embedded worker or a Celery task.

Safe to call any number of times with the same id: the claim in the database decides. While the
video is read, a small thread renews the lease; when the claim is lost, the result is dropped.
"""

import enum
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import analyses, results
from app.services.analyses import Claim
from app.services.storage import Storage
from app.settings import Settings
from app.video.errors import VideoError

if TYPE_CHECKING:
    from app.video.analyse import Report


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
            claim = analyses.claim(
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
        outcome = self._carry_out(claim, stopping=stopping)
        event("analysis.ended", analysis_id=analysis_id, outcome=outcome.value)
        return outcome

    def _carry_out(self, claim: Claim, *, stopping: Callable[[], bool]) -> Outcome:
        try:
            with self._lease_kept(claim) as lost:
                report = self._look(claim, stopping=stopping, lost=lost)
        except _ClaimLostError:
            return Outcome.LOST
        except _StoppingError:
            with self._database.writing() as session:
                released = analyses.release(session, claim=claim)
            return Outcome.HANDED_BACK if released else Outcome.LOST
        except VideoError as error:
            return self._fail(claim, reason=str(error))
        except Exception as error:  # noqa: BLE001  (one video must not end the worker)
            # Unforeseen, such as cv2.error. The person waiting gets an answer, the log the cause.
            event("analysis.crashed", level=40, exc_info=True, analysis_id=claim.analysis_id)
            return self._fail(claim, reason=f"internal error: {type(error).__name__}")
        with self._database.writing() as session:
            kept = analyses.complete(
                session, claim=claim, now=utc_now(), result=results.to_json(report)
            )
        return Outcome.DONE if kept else Outcome.LOST

    def _look(
        self, claim: Claim, *, stopping: Callable[[], bool], lost: threading.Event
    ) -> "Report":
        # OpenCV takes 0.2 s and 60 MB to import; the API process pays when the first video comes.
        from app.video.analyse import analyse

        def checkpoint() -> None:
            if lost.is_set():
                raise _ClaimLostError
            if stopping():
                raise _StoppingError

        return analyse(
            self._storage.path(claim.video_id),
            ffprobe=self._settings.ffprobe,
            time_limit=self._settings.analysis_timeout.total_seconds(),
            checkpoint=checkpoint,
        )

    def _fail(self, claim: Claim, *, reason: str) -> Outcome:
        with self._database.writing() as session:
            kept = analyses.fail(session, claim=claim, now=utc_now(), reason=reason)
        return Outcome.FAILED if kept else Outcome.LOST

    @contextmanager
    def _lease_kept(self, claim: Claim) -> Iterator[threading.Event]:
        """Renew the lease in the background; the event is set when the claim was lost."""
        ended, lost = threading.Event(), threading.Event()
        lease: timedelta = self._settings.lease

        def renew() -> None:
            while not ended.wait(lease.total_seconds() / 3):
                try:
                    with self._database.writing() as session:
                        if not analyses.renew(session, claim=claim, now=utc_now(), lease=lease):
                            lost.set()
                            return
                except SQLAlchemyError:
                    # The database may come back before the lease runs out; if not, the final
                    # UPDATE finds another owner and the result is dropped.
                    event("analysis.renewal_failed", level=30, analysis_id=claim.analysis_id)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            ended.set()
            thread.join()
