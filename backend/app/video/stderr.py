"""Parse ffmpeg's log: how many frames were decoded, and why it failed."""

import re
import signal
from collections import deque
from pathlib import Path

from app.video.complaints import readable
from app.video.errors import ToolError, UnreadableVideoError, VideoError, VideoTooBigError
from app.video.options import Limits
from app.video.process import (
    DECODER_OUT_OF_MEMORY,
    OUT_OF_MEMORY,
    TOO_LARGE,
    memory_limit_error,
)

# Share of frames that may be damaged before the file counts as unreadable.
MAX_ERROR_RATE = 0.1
_MAX_ERRORS = 4
_MAX_LINE = 300
_LEVEL = re.compile(r"^(?:\[[^]]*\] )*\[(error|fatal|panic)\] ")
_DECODED = re.compile(r"(\d+) frames decoded(?:; (\d+) decode errors)?")
# Logged when the first frame arrives. Errors before it are no damage: a recording may begin in the
# middle of a group of pictures.
_FIRST_FRAME = re.compile(r"^\[graph 0 input from stream ")


class FfmpegLog:
    """ffmpeg's log (`-v level+verbose`), of which a bounded part is kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._errors: deque[str] = deque(maxlen=_MAX_ERRORS)
        self.out_of_memory = False
        self.endless = False
        """ffmpeg may never end by itself."""
        self.too_large: str | None = None
        self.frames_decoded = 0
        self._undecoded = 0
        self.damages = 0
        """Number of errors while frames were decoded."""
        self._begun = False

    def add(self, data: bytes) -> None:
        """Parse a chunk of the log; b"" marks its end."""
        self.endless = self.endless or DECODER_OUT_OF_MEMORY in data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data or len(self._rest) > 1 << 16:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._parse_line(line[: 4 * _MAX_LINE].decode("utf-8", "replace"))

    def _parse_line(self, line: str) -> None:
        decoded = _DECODED.search(line)
        if decoded is not None and "(video)" in line:
            self.frames_decoded, self._undecoded = int(decoded[1]), int(decoded[2] or 0)
        self.out_of_memory = self.out_of_memory or OUT_OF_MEMORY.search(line) is not None
        too_large = TOO_LARGE.search(line)
        if too_large is not None:
            self.too_large = too_large[1]
        if _LEVEL.match(line):
            text = _LEVEL.sub("", line)[:_MAX_LINE].strip()
            self.damages += self._begun
            if text and text not in self._errors:
                self._errors.append(text)
        self._begun = self._begun or _FIRST_FRAME.match(line) is not None

    def last_errors(self, *, path: Path) -> str | None:
        """Return the last few errors, safe to show to users."""
        return readable("\n".join(self._errors), path=path)

    def failure(self, code: int, *, path: Path, limits: Limits) -> VideoError | None:
        """Return the error for an exit code, or None if ffmpeg succeeded."""
        # FFmpeg 7 forgives every error rate below 1 (it divides integers), but counts.
        tried = self.frames_decoded + self._undecoded
        if code == 0 and self._undecoded <= tried * MAX_ERROR_RATE:
            return None
        if self.too_large is not None:
            return VideoTooBigError(
                f"a frame of {self.too_large} exceeds the limit of {limits.pixels} pixels"
            )
        if self.out_of_memory:
            return memory_limit_error(limits)
        if code == -signal.SIGKILL:
            return ToolError("ffmpeg was killed; the machine may have run out of memory")
        if code < 0:
            name = signal.Signals(-code).name
            return UnreadableVideoError(f"ffmpeg crashed with {name}; the file is damaged")
        return UnreadableVideoError(
            "ffmpeg cannot decode the video; the file is damaged, or needs something that ffmpeg "
            "does not support",
            log=self.last_errors(path=path),
        )
