"""Tell a person how an upload goes: one changing line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TextIO

_UNITS = ("B", "kB", "MB", "GB", "TB")
# Seconds between two drawings of the line: often enough to see, too rarely to cost anything.
_INTERVAL = 0.1


class Progress:
    """Counts bytes and blobs of one push. Safe to share between threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._lock = threading.Lock()
        self._total = self._sent = 0
        self._blobs = self._finished = 0
        self._current = ""
        self._started = self._drawn = time.monotonic()

    def expect(self, *, blobs: int, size: int) -> None:
        """Announce how much is going to be uploaded, in bytes."""
        with self._lock:
            self._blobs, self._total = blobs, size
            self._started = time.monotonic()

    def advance(self, name: str, amount: int) -> None:
        """Note `amount` bytes of the blob `name`; negative ones were sent in vain."""
        with self._lock:
            self._sent += amount
            self._current = name
            if self._live and time.monotonic() - self._drawn >= _INTERVAL:
                self._draw()

    def finish(self, name: str, how: str) -> None:
        """Note that a blob is in the registry, and how it came there."""
        with self._lock:
            if how == "uploaded":
                self._finished += 1
            self._print(f"{name}: {how}")

    def note(self, line: str) -> None:
        """Say something, above the changing line."""
        with self._lock:
            self._print(line)

    def close(self) -> None:
        """Leave no changing line behind."""
        with self._lock:
            self._clear()

    def _print(self, line: str) -> None:
        self._clear()
        print(line, file=self._stream, flush=True)
        if self._live and self._finished < self._blobs:
            self._draw()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        rate = self._sent / max(self._drawn - self._started, 1e-9)
        line = (
            f"{self._finished}/{self._blobs} blobs, {size_text(self._sent)} of "
            f"{size_text(self._total)}, {size_text(int(rate))}/s, {self._current}"
        )
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[K{line[:width]}")
        self._stream.flush()


def size_text(size: int) -> str:
    """A count of bytes for people: `217.4 MB`."""
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit returns")
