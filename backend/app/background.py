"""A thread that does one step whenever it is woken, and every few seconds anyway."""

import threading
from abc import ABC, abstractmethod

from app.logs import event

STOP_TIMEOUT_S = 8.0  # container engines kill after ten


class BackgroundThread(ABC):
    """Runs `step` until stopped. A step that raises is logged and tried again at the next beat."""

    def __init__(self, *, name: str, interval: float) -> None:
        """Prepare; `start` starts. `interval` is in seconds."""
        self.name = name
        self._interval = interval
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    @abstractmethod
    def step(self) -> None:
        """Do all the work there is; return early when `stopping`."""

    @abstractmethod
    def closed(self) -> None:
        """Let go of what `step` holds; called once, in the thread, at the end."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Make the next step happen now."""
        self._wake.set()

    def ask_to_stop(self) -> None:
        """Ask the thread to end; returns at once, also from a signal handler."""
        self._stop.set()
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end and wait for it, but not for ever."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def stopping(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stop.is_set()

    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def _loop(self) -> None:
        try:
            while not self.stopping():
                self._wake.clear()
                try:
                    self.step()
                except Exception:  # noqa: BLE001  (the thread must outlive any one step)
                    event("background.step_failed", level=40, exc_info=True)
                self._wake.wait(self._interval)
        finally:
            self.closed()
