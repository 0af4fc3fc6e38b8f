"""Run one analysis, for the embedded worker and for the Celery task alike.

Safe to call any number of times with the same id: the claim in the database decides. While the
video is read, a thread renews the lease and records progress. When the claim is lost (cancelled,
deleted, taken over), the work stops and its results are discarded.
"""

import contextlib
import enum
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.logs import event
from app.models import Analysis, AnalysisStatus
from app.models.base import utc_now
from app.services import facts as stored_facts
from app.services import leases, results, videos
from app.services.leases import Claim
from app.services.pictures import PREVIEW, event_picture, video_picture
from app.services.results import Findings
from app.services.storage import Storage
from app.video import (
    Limits,
    MemoryLimitError,
    Probe,
    Tools,
    VideoError,
    analyse,
    convert,
    probe,
)
from app.video.probe import check_size
from app.worker.config import RunnerConfig

# Interval between progress updates; also how quickly a cancelled analysis stops.
HEARTBEAT_S = 1.0
# How long to retry storing results while the database is down, for example restarting.
STORE_TIMEOUT = timedelta(minutes=5)
RETRY_S = 1.0
# Progress when the events are known and only a preview for browsers is missing.
_SHARE_BEFORE_PREVIEW = 0.7


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


class _Album:
    """Store pictures next to the results. A full disk costs pictures, never the analysis."""

    def __init__(self, storage: Storage, claim: Claim) -> None:
        self._storage = storage
        self._claim = claim
        self._working = True

    def add(self, position: int | None, width: int, jpeg: bytes) -> None:
        """Store the picture of an event, or of the video if `position` is None."""
        if not self._working:
            return
        if position is None:
            name = video_picture(width)
        else:
            name = event_picture(self._claim.analysis_id, position, width)
        temporary = self._storage.incoming()
        try:
            temporary.write_bytes(jpeg)
            self._storage.keep_derived(temporary, self._storage.kept(self._claim.video_id, name))
        except OSError as error:
            self._working = False
            event("pictures.failed", level=logging.WARNING, cause=str(error.strerror))
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


class AnalysisRunner:
    """Run analyses; built once per process."""

    def __init__(self, *, config: RunnerConfig, database: Database, storage: Storage) -> None:
        """Store the dependencies; open nothing."""
        self._config = config
        self._database = database
        self._storage = storage

    def run_next(self, analysis_id: uuid.UUID, *, stopping: Callable[[], bool]) -> Outcome:
        """Run the analysis whose turn it is, for a message that says that this one waits.

        There is one message for each that waits, so all of them get their turn. Raise as `run`.
        """
        while not stopping():
            with self._database.reading() as session:
                chosen = leases.next_claimable(session, now=utc_now())
            if chosen is None:
                break
            outcome = self.run(chosen, stopping=stopping)
            if outcome is not Outcome.NOT_CLAIMED:  # by another worker, meanwhile
                return outcome
        return self.run(analysis_id, stopping=stopping)

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
                lease=self._config.lease,
                max_attempts=self._config.analysis_attempts,
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
                findings = self._analyse(claim, stopping=stopping, state=state)
                outcome = self._store(
                    lambda session: leases.complete(
                        session, claim=claim, now=utc_now(), findings=findings
                    ),
                    Outcome.DONE,
                )
            if outcome is Outcome.LOST:
                self._clean_up(claim)
            return outcome
        except _ClaimLostError:
            self._clean_up(claim)
            return Outcome.LOST
        except _StoppingError:
            return self._store(
                lambda session: leases.release(session, claim=claim), Outcome.HANDED_BACK
            )
        except (MemoryError, MemoryLimitError):
            limit = f"{self._config.analysis_memory >> 20} MiB (ANALYSIS_MEMORY)"
            return self._fail(claim, reason=f"the analysis exceeded the memory limit of {limit}")
        except VideoError as error:
            return self._fail(claim, reason=str(error), detail=error.log)
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

    def _analyse(self, claim: Claim, *, stopping: Callable[[], bool], state: _RunState) -> Findings:
        """Analyse the video, store its pictures and preview; return the results."""

        def checkpoint() -> None:
            if state.lost.is_set():
                raise _ClaimLostError
            if stopping():
                raise _StoppingError

        def progress(share: float) -> None:
            state.progress = share if facts.playable else share * _SHARE_BEFORE_PREVIEW

        config = self._config
        deadline = time.monotonic() + config.analysis_timeout.total_seconds()
        tools = Tools(ffmpeg=config.ffmpeg, ffprobe=config.ffprobe)
        limits = Limits(
            memory=config.analysis_memory,
            wall_time=config.analysis_timeout.total_seconds(),
            duration=Fraction(config.max_duration.total_seconds()),
        )
        path = self._storage.path(claim.video_id)
        checkpoint()
        facts = self._facts(claim, path=path, tools=tools, limits=limits, checkpoint=checkpoint)
        album = _Album(self._storage, claim)
        result = analyse(
            path,
            tools=tools,
            parameters=claim.parameters,
            limits=limits,
            progress=progress,
            checkpoint=checkpoint,
            facts=facts,
            pictures=album.add,
        )
        remaining = deadline - time.monotonic()
        has_preview = not facts.playable and self._make_preview(
            claim, facts=facts, tools=tools, checkpoint=checkpoint,
            limits=replace(limits, wall_time=max(1.0, remaining)),
        )  # fmt: skip
        return results.to_findings(result, has_preview=has_preview)

    def _facts(
        self,
        claim: Claim,
        *,
        path: Path,
        tools: Tools,
        limits: Limits,
        checkpoint: Callable[[], None],
    ) -> Probe:
        """Return what was found when the video was stored; check it against the limits."""
        with self._database.reading() as session:
            known = stored_facts.load(session, video_id=claim.video_id)
        if known is None:
            known = probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
            with self._database.writing() as session:
                stored_facts.store(session, video_id=claim.video_id, facts=known)
        check_size(known, limits=limits)
        return known

    def _make_preview(
        self,
        claim: Claim,
        *,
        facts: Probe,
        tools: Tools,
        limits: Limits,
        checkpoint: Callable[[], None],
    ) -> bool:
        """Store a copy that every browser plays; return False if that is not possible."""
        target = self._storage.kept(claim.video_id, PREVIEW)
        if target.exists():
            return True
        temporary = self._storage.incoming()
        try:
            convert(
                self._storage.path(claim.video_id), tools=tools, target=temporary, facts=facts,
                limits=limits, checkpoint=checkpoint,
            )  # fmt: skip
            self._storage.keep_derived(temporary, target)
        except (VideoError, OSError) as error:
            # The events are there; a browser that cannot play the original plays their clips.
            event(
                "preview.failed",
                level=logging.WARNING,
                video_id=claim.video_id,
                cause=str(error),
                log=getattr(error, "log", None),
            )
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _clean_up(self, claim: Claim) -> None:
        """Delete files of an analysis that was cancelled or deleted, or whose video was."""
        with self._database.reading() as session:
            if not videos.exists(session, video_id=claim.video_id):
                self._storage.discard_kept(claim.video_id)
                return
            analysis = session.get(Analysis, claim.analysis_id)
            # Any other status: another worker has it now, and stores files of the same names.
            if analysis is None or analysis.status is AnalysisStatus.CANCELLED:
                self._storage.discard_kept(claim.video_id, prefix=f"{claim.analysis_id}-")

    def _fail(self, claim: Claim, *, reason: str, detail: str | None = None) -> Outcome:
        return self._store(
            lambda session: leases.fail(
                session, claim=claim, now=utc_now(), reason=reason, detail=detail
            ),
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
        lease = self._config.lease
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
