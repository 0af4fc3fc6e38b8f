"""The worker of a service without a broker: a child process, started when there is work.

It is a separate process, as with Celery, so that a video that crashes OpenCV or exhausts the memory
ends one attempt and not the service, and so that the API neither blocks on an analysis nor loads
OpenCV.

Only one service per DATA_DIR runs analyses: the one holding a file lock there. The child inherits
the lock, and the kernel releases it when the last of both exits, however they end. Whoever acquires
it therefore knows that analyses marked as running belong to a dead process, and restarts them at
once.
"""

import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import leases
from app.services.queue import WorkerState
from app.services.storage import Storage
from app.settings import FILE_SUFFIX, Settings
from app.worker.background import STOP_TIMEOUT_S, BackgroundThread
from app.worker.config import RunnerConfig

INTERVAL_S = 2.0
# A child that exits within EARLY_EXIT_S this many times in a row fails whatever the video.
EARLY_EXIT_S = 5.0
MAX_EARLY_EXITS = 5
# As in `main`: imports create hardly any garbage. The child itself collects it again.
_CHILD = "import gc; gc.disable(); from app.worker.child import main; main()"


class EmbeddedWorker(BackgroundThread):
    """Run a child process while there is work; implement AnalysisQueue."""

    def __init__(self, *, settings: Settings, database: Database, storage: Storage) -> None:
        """Prepare; nothing runs before `start`."""
        super().__init__(name="embedded-worker", interval=INTERVAL_S)
        self._settings = settings
        self._database = database
        self._lock_path = storage.root / "worker.lock"
        self._lock: int | None = None
        self._child: subprocess.Popen[str] | None = None
        self._child_started_at = 0.0
        self._early_exits = 0

    def state(self) -> WorkerState:
        """Return whether analyses are being run."""
        working = self.alive() and self._early_exits < MAX_EARLY_EXITS
        return WorkerState.EMBEDDED if working else WorkerState.STOPPED

    def step(self) -> None:
        """Notify the child, or start one if there is work and this process holds the lock."""
        if self._child is not None and self._child.poll() is None:
            self._notify(self._child)
            return
        self._reap()
        if not self._acquire_lock():
            return
        with self._database.reading() as session:
            if not leases.any_unfinished(session):
                return
        with self._database.writing() as session:
            recovered = leases.expire_leases(session, now=utc_now())
        if recovered:
            event("worker.recovered", analyses=recovered)
        self._child = self._spawn()

    def _spawn(self) -> subprocess.Popen[str]:
        assert self._lock is not None  # noqa: S101 - acquired by `step`
        path = os.pathsep.join(filter(None, sys.path))
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            text=True,
            env={**_without_settings(os.environ), "PYTHONPATH": path},
            pass_fds=(self._lock,),
        )
        self._child_started_at = time.monotonic()
        event("worker.started", pid=child.pid)
        assert child.stdin is not None  # noqa: S101 - requested above
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(RunnerConfig.from_settings(self._settings).to_json() + "\n")
            child.stdin.flush()
        return child

    def _notify(self, child: subprocess.Popen[str]) -> None:
        assert child.stdin is not None  # noqa: S101 - requested by `_spawn`
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write("\n")
            child.stdin.flush()

    def _reap(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        _close_stdin(child)
        if child.returncode == 0:
            self._early_exits = 0
            return
        early = time.monotonic() - self._child_started_at < EARLY_EXIT_S
        self._early_exits = self._early_exits + 1 if early else 0
        event("worker.died", level=logging.ERROR, pid=child.pid, code=child.returncode)

    def _acquire_lock(self) -> bool:
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

    def close(self) -> None:
        """Stop the child, which hands its analysis back, and release the lock."""
        if self._child is not None:
            _close_stdin(self._child)  # end of input is the child's stop signal
            try:
                self._child.wait(STOP_TIMEOUT_S - 1)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without settings, which are secret and come through standard input."""
    names = {name.upper() for name in Settings.model_fields}
    names |= {name + FILE_SUFFIX for name in names}
    return {name: value for name, value in environment.items() if name not in names}


def _close_stdin(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None  # noqa: S101 - requested by `_spawn`
    with contextlib.suppress(OSError):
        child.stdin.close()
