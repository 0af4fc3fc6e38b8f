"""A thread that runs a step at a fixed interval, and immediately when woken."""

import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from queue import Empty, SimpleQueue

from app.logs import event

STOP_TIMEOUT_S = 8.0  # container engines send SIGKILL after 10 s


class BackgroundThread(ABC):
    """Run `step` until stopped. A step that raises is logged and retried at the next interval."""

    def __init__(self, *, name: str, interval: float) -> None:
        """Prepare the thread without starting it; `interval` is in seconds."""
        self.name = name
        self._interval = interval
        # Not events: a signal handler that interrupts `Event.set` would wait for its lock forever.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    @abstractmethod
    def step(self) -> None:
        """Do all pending work; return early once `stopping()` is true."""

    @abstractmethod
    def close(self) -> None:
        """Release what `step` holds; called once, in the thread, after the last step."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Run the next step now."""
        self._wakes.put(None)

    def request_stop(self) -> None:
        """Ask the thread to stop without waiting; safe in a signal handler."""
        self._stopping = True
        self._wakes.put(None)

    def stop(self) -> None:
        """Ask the thread to stop and wait for it, up to STOP_TIMEOUT_S."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def stopping(self) -> bool:
        """Return whether a stop has been requested."""
        return self._stopping

    def alive(self) -> bool:
        """Return whether the thread is running."""
        return self._thread.is_alive()

    def _loop(self) -> None:
        try:
            while not self.stopping():
                while not self._wakes.empty():
                    self._wakes.get()
                try:
                    self.step()
                except Exception:  # noqa: BLE001 - the thread must survive a failing step
                    event("background.step_failed", level=logging.ERROR, exc_info=True)
                with contextlib.suppress(Empty):
                    self._wakes.get(timeout=self._interval)
        finally:
            self.close()
