"""The worker inside the API process, used when REDIS_URL is not set.

One process per DATA_DIR works, the one that holds a file lock there; the kernel drops that lock
with the process, however it ends. Whoever gets the lock therefore knows that analyses marked as
running are left over from a dead process, and takes them up at once.
"""

import fcntl
import os

from app.background import BackgroundThread
from app.db import Database
from app.jobs import AnalysisRunner
from app.logs import event
from app.models.base import utc_now
from app.services import analyses
from app.services.queue import WorkerState
from app.services.storage import Storage

INTERVAL_S = 2.0


class EmbeddedWorker(BackgroundThread):
    """Carries out queued analyses one after the other; implements AnalysisQueue."""

    def __init__(self, *, runner: AnalysisRunner, database: Database, storage: Storage) -> None:
        """Prepare; nothing runs before `start`."""
        super().__init__(name="embedded-worker", interval=INTERVAL_S)
        self._runner = runner
        self._database = database
        self._lock_path = storage.root / "worker.lock"
        self._lock: int | None = None

    def state(self) -> WorkerState:
        """Tell whether the thread is there."""
        return WorkerState.EMBEDDED if self.alive() else WorkerState.STOPPED

    def step(self) -> None:
        """Carry out everything that is queued, if this process is the one that works."""
        if not self._locked():
            return
        while not self.stopping():
            with self._database.reading() as session:
                analysis_id = analyses.next_free(session, now=utc_now())
            if analysis_id is None:
                return
            self._runner.run(analysis_id, stopping=self.stopping)

    def _locked(self) -> bool:
        if self._lock is not None:
            return True
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self._database.writing() as session:
                recovered = analyses.expire_leases(session, now=utc_now())
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor
        if recovered:
            event("worker.recovered", analyses=recovered)
        return True

    def closed(self) -> None:
        """Let another process work."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
