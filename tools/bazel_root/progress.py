"""Progress on standard error: one updating line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

_TTY_INTERVAL = 0.1  # seconds between repaints
_LOG_INTERVAL = 5.0  # seconds between lines in a log


class Progress:
    """Counts bytes and packages of one build; safe to call from several threads."""

    def __init__(
        self,
        *,
        total_bytes: int,
        packages: int,
        name: str = "bazelw",
        done: str = "unpacked",
        stream: TextIO | None = None,
    ) -> None:
        self._name, self._done = name, done
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty()
        self._total = total_bytes
        self._packages = packages
        self._bytes = 0
        self._unpacked = 0
        self._last = time.monotonic()
        self._shown = ""
        self._lock = threading.Lock()

    def downloaded(self, count: int) -> None:
        """Add bytes that have arrived; a negative number takes back those of a failed try."""
        with self._lock:
            self._bytes += count
            self._show()

    def unpacked(self) -> None:
        """Add one package that is in place."""
        with self._lock:
            self._unpacked += 1
            self._show()

    def close(self) -> None:
        """End the updating line."""
        with self._lock:
            self._show(force=True)
            if self._tty:
                self._stream.write("\n")
                self._stream.flush()

    def _show(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._last < (_TTY_INTERVAL if self._tty else _LOG_INTERVAL):
            return
        self._last = now
        line = (
            f"{self._name}: downloaded {self._bytes / 1e6:.0f} of {self._total / 1e6:.0f} MB, "
            f"{self._done} {self._unpacked} of {self._packages} packages"
        )
        if line == self._shown:
            return
        self._shown = line
        # \x1b[K clears what a longer line before it left.
        self._stream.write(f"\r{line}\x1b[K" if self._tty else line + "\n")
        self._stream.flush()
