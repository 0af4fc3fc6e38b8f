"""Understands what ffmpeg says while it works: how it went, and why it failed."""

import re
import signal
from collections import deque
from pathlib import Path

from app.video.errors import ToolError, UnreadableVideoError, VideoError, VideoTooBigError
from app.video.options import Limits
from app.video.process import NO_MEMORY, TOO_LARGE, no_memory, presentable

_KEPT_LINES = 4
_LONGEST_LINE = 300
_LEVEL = re.compile(r"^(?:\[[^]]*\] )*\[(error|fatal|panic)\] ")
_DECODED = re.compile(r"(\d+) frames decoded")


class Complaints:
    """ffmpeg's log (`-v level+verbose`), of which a bounded part is kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self.out_of_memory = False
        self.too_large: str | None = None
        self.frames_decoded = 0

    def add(self, data: bytes) -> None:
        """Take in what was read; the end of the log is marked by b""."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data or len(self._rest) > 1 << 16:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._read(line[: 4 * _LONGEST_LINE].decode("utf-8", "replace"))

    def _read(self, line: str) -> None:
        decoded = _DECODED.search(line)
        if decoded is not None and "(video)" in line:
            self.frames_decoded = int(decoded[1])
        self.out_of_memory = self.out_of_memory or NO_MEMORY.search(line) is not None
        too_large = TOO_LARGE.search(line)
        if too_large is not None:
            self.too_large = too_large[1]
        if _LEVEL.match(line):
            text = _LEVEL.sub("", line)[:_LONGEST_LINE].strip()
            if text and text not in self._errors:
                self._errors.append(text)

    def last_words(self, *, path: Path) -> str:
        """Return the last few errors, fit to be shown."""
        return presentable(" / ".join(self._errors), path=path) or "no message"

    def failure(self, code: int, *, path: Path, limits: Limits) -> VideoError | None:
        """Return what an exit code means, or None when all went well."""
        if code == 0:
            return None
        if self.too_large is not None:
            return VideoTooBigError(f"a picture of {self.too_large} pixels is larger than allowed")
        if self.out_of_memory:
            return no_memory(limits)
        if code == -signal.SIGKILL:
            return ToolError("ffmpeg was killed; the machine may have had no memory left")
        if code < 0:
            name = signal.Signals(-code).name
            return UnreadableVideoError(f"ffmpeg was ended by {name}; the file is damaged")
        return UnreadableVideoError(f"ffmpeg cannot decode the file: {self.last_words(path=path)}")
