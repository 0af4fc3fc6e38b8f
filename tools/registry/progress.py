"""Progress of an upload: one updated line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

_UNITS = ("B", "kB", "MB", "GB", "TB")
# Seconds between updates of the line: smooth, and cheap.
_TERMINAL_INTERVAL = 0.1
# Seconds between plain lines: a log shows progress and stays readable.
_PLAIN_INTERVAL = 10.0
_COLUMNS = 80


@dataclass
class _Upload:
    """A blob that is being uploaded; sizes in bytes."""

    name: str
    size: int
    sent: int = 0
    started: float = field(default_factory=time.monotonic)


class Progress:
    """Counts bytes and blobs of one push. Safe to share between threads."""

    def __init__(self, stream: TextIO, *, plain_interval: float = _PLAIN_INTERVAL) -> None:
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._interval = _TERMINAL_INTERVAL if self._live else plain_interval
        self._lock = threading.Lock()
        self._total = self._sent = 0
        self._blobs = self._finished = 0
        # Uploads in progress by digest, in the order of their start.
        self._uploads: dict[str, _Upload] = {}
        self._started = self._drawn = time.monotonic()

    def expect(self, *, blobs: int, size: int) -> None:
        """Set how much will be uploaded, in bytes."""
        with self._lock:
            self._blobs, self._total = blobs, size
            self._finished = self._sent = 0
            self._started = self._drawn = time.monotonic()

    def expect_less(self, size: int) -> None:
        """Record that a blob of `size` bytes need not be uploaded."""
        with self._lock:
            self._blobs -= 1
            self._total -= size

    def begin(self, digest: str, name: str, size: int) -> None:
        """Record that the upload of a blob of `size` bytes begins; `name` is shown."""
        with self._lock:
            self._uploads[digest] = _Upload(name, size)

    def advance(self, digest: str, amount: int) -> None:
        """Record `amount` bytes of a blob; negative ones have to be sent again."""
        with self._lock:
            self._sent += amount
            self._uploads[digest].sent += amount
            if time.monotonic() - self._drawn >= self._interval:
                self._draw()

    def finish(self, digest: str) -> None:
        """Record that a blob has been uploaded."""
        with self._lock:
            self._finished += 1
            upload = self._uploads.pop(digest)
            seconds = time.monotonic() - upload.started
            text = f"uploaded {size_text(upload.size)} in {seconds:.1f} s"
            self._print(f"{upload.name} {digest[:19]}: {text}, {_rate(upload.size, seconds)}")

    def note(self, line: str) -> None:
        """Print a line above the updated one."""
        with self._lock:
            self._print(line)

    def close(self) -> None:
        """Remove the updated line."""
        with self._lock:
            self._clear()

    def _print(self, line: str) -> None:
        self._clear()
        print(line, file=self._stream, flush=True)
        if self._live and self._uploads:
            self._draw()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        line = self._summary(self._drawn - self._started)
        if self._live:
            self._stream.write(f"\r\x1b[K{line[: self._columns() - 1]}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except (OSError, ValueError):
            return _COLUMNS

    def _summary(self, seconds: float) -> str:
        which = ", ".join(
            f"{upload.name} {100 * upload.sent // max(upload.size, 1)}%"
            for upload in self._uploads.values()
        )
        return (
            f"{self._finished}/{self._blobs} blobs, {size_text(self._sent)} of "
            f"{size_text(self._total)}, {_rate(self._sent, seconds)}: {which}"
        )


def size_text(size: int) -> str:
    """Return a number of bytes in a readable unit: `217.4 MB`."""
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit returns")


def _rate(size: int, seconds: float) -> str:
    return f"{size_text(int(size / max(seconds, 1e-3)))}/s"
