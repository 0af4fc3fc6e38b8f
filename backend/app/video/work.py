"""How much a picture or a clip may cost: pixels times frames that have to be decoded.

A frame can only be decoded after all others since the last key frame. In a file of a few kilobytes
these may be thousands of the largest size, and what the file says about them may be wrong. So the
frames are counted where they leave the decoder, and the last one that is allowed ends the run.
"""

import re
from fractions import Fraction

from app.video.errors import VideoTooBigError
from app.video.options import Limits
from app.video.probe import Probe

_DECODED = re.compile(rb"(\d+) frames decoded")
_TAIL = 8000
_FALLBACK_RATE = Fraction(25)


class Work:
    """The work done for one picture, in several runs of ffmpeg, and its limit."""

    def __init__(self, facts: Probe, *, limits: Limits) -> None:
        """Begin with nothing done."""
        self._pixels = facts.width * facts.height
        self._rate = facts.frame_rate or _FALLBACK_RATE
        self._limit = limits.work
        self._left = None if limits.work is None else max(1, limits.work // self._pixels)
        self._log = b""

    @property
    def options(self) -> tuple[str, ...]:
        """Return options of ffmpeg with which it says how many frames it has decoded."""
        return ("-v", "error") if self._left is None else ("-nostats", "-v", "verbose")

    def filters(self) -> tuple[str, ...]:
        """Return the filter that ends the run when more has been decoded than was left."""
        return () if self._left is None else (f"trim=end_frame={self._left + 1}",)

    @property
    def log(self) -> str:
        """Return the end of the last run's log."""
        return self._log.decode("utf-8", "replace")

    def read(self, log: bytes) -> None:
        """Read ffmpeg's log."""
        self._log = (self._log + log)[-_TAIL:]

    def add(self) -> bool:
        """Add what a run has decoded; return whether it was more than was left."""
        if self._left is None:
            return False
        found = _DECODED.findall(self._log)
        self._left -= max(map(int, found), default=0)
        self._log = b""
        return self._left < 0

    def check(self, what: str, seconds: Fraction) -> None:
        """Raise VideoTooBigError if the frames of so many seconds exceed the limit."""
        if self._limit is not None and self._pixels * self._rate * seconds > self._limit:
            raise self.error(what)

    def error(self, what: str) -> VideoTooBigError:
        """Return the error of something that costs too much."""
        return VideoTooBigError(
            f"{what} needs more than {(self._limit or 0) / 1e6:.0f} million pixels to be decoded"
        )
