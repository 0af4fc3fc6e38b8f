"""The worker of a service without a broker: a child process, started when there is work.

A process of its own, as with Celery, so that a video that crashes OpenCV or eats the memory ends an
attempt and not the service, and the API neither waits for an analysis nor carries OpenCV around.

One service per DATA_DIR works, the one that holds a file lock there. The child inherits the lock,
and the kernel drops it with the last of both, however they end. Whoever gets it therefore knows
that analyses marked as running are left over from a dead process, and takes them up at once.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time

from app.background import STOP_TIMEOUT_S, BackgroundThread
from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import leases
from app.services.queue import WorkerState
from app.services.storage import Storage
from app.settings import Settings

INTERVAL_S = 2.0
# A child that dies this soon, this often in a row, does so whatever the video.
EARLY_S = 5.0
HOPELESS = 5


class EmbeddedWorker(BackgroundThread):
    """Keeps a child at work while there is some; implements AnalysisQueue."""

    def __init__(self, *, settings: Settings, database: Database, storage: Storage) -> None:
        """Prepare; nothing runs before `start`."""
        super().__init__(name="embedded-worker", interval=INTERVAL_S)
        self._settings = settings
        self._database = database
        self._lock_path = storage.root / "worker.lock"
        self._lock: int | None = None
        self._child: subprocess.Popen[str] | None = None
        self._child_began = 0.0
        self._early_deaths = 0

    def state(self) -> WorkerState:
        """Tell whether analyses are carried out."""
        works = self.alive() and self._early_deaths < HOPELESS
        return WorkerState.EMBEDDED if works else WorkerState.STOPPED

    def step(self) -> None:
        """Wake the child, or start one if there is work and this process is the one that works."""
        if self._child is not None and self._child.poll() is None:
            self._poke(self._child)
            return
        self._bury()
        if not self._locked():
            return
        with self._database.reading() as session:
            if not leases.unfinished(session):
                return
        with self._database.writing() as session:
            recovered = leases.expire_leases(session, now=utc_now())
        if recovered:
            event("worker.recovered", analyses=recovered)
        self._child = self._started()

    def _started(self) -> subprocess.Popen[str]:
        assert self._lock is not None  # noqa: S101 -- taken before
        path = os.pathsep.join(filter(None, sys.path))
        child = subprocess.Popen(
            [sys.executable, "-m", "app.embedded_child"],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=(self._lock,),
        )
        self._child_began = time.monotonic()
        event("worker.started", pid=child.pid)
        assert child.stdin is not None  # noqa: S101 -- asked for above
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(self._settings.to_json() + "\n")
            child.stdin.flush()
        return child

    def _poke(self, child: subprocess.Popen[str]) -> None:
        assert child.stdin is not None  # noqa: S101 -- asked for when it was started
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write("\n")
            child.stdin.flush()

    def _bury(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        _close(child)
        if child.returncode == 0:
            self._early_deaths = 0
            return
        early = time.monotonic() - self._child_began < EARLY_S
        self._early_deaths = self._early_deaths + 1 if early else 0
        event("worker.died", level=40, pid=child.pid, code=child.returncode)

    def _locked(self) -> bool:
        if self._lock is not None:
            return True
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def closed(self) -> None:
        """End the child, which hands back what it has in hand, and let another process work."""
        if self._child is not None:
            _close(self._child)  # the end of its input is what tells it
            try:
                self._child.wait(STOP_TIMEOUT_S - 1)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _close(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None  # noqa: S101 -- asked for when it was started
    with contextlib.suppress(OSError):
        child.stdin.close()
