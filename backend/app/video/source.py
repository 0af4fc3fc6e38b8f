"""Reads a file as timestamped grey frames, through OpenCV, in constant memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from app.video.errors import UnreadableVideoError
from app.video.probe import FORMATS, PROTOCOLS, Probe

GreyImage = npt.NDArray[np.uint8]

# OpenCV carries an ffmpeg of its own, which must be as unwilling as ours to follow references.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
    f"protocol_whitelist;{PROTOCOLS}|format_whitelist;{FORMATS}"
)
# The workers are what runs in parallel; OpenCV's threads would only starve the API beside them.
cv2.setNumThreads(1)

_FALLBACK_FRAME_RATE = Fraction(25)


@dataclass(frozen=True)
class Frame:
    """One picture: grey, scaled, upright, and the exact time it is shown at (seconds)."""

    time: Fraction
    image: GreyImage


class FrameSource:
    """Yields the frames of one file at about `sample_rate` per second, `width` pixels wide.

    `checkpoint` is called for every frame decoded and may raise to stop. `frames_decoded` and `end`
    (time of the last frame) can be read while and after iterating.
    """

    def __init__(
        self,
        path: Path,
        *,
        probe: Probe,
        sample_rate: Fraction,
        width: int,
        checkpoint: Callable[[], None],
    ) -> None:
        """Take note; the file is opened when iteration starts."""
        self._path = path
        self._probe = probe
        self._interval = 1 / sample_rate
        self._width = width
        self._checkpoint = checkpoint
        self.frames_decoded = 0
        self.end = Fraction(0)

    def __iter__(self) -> Iterator[Frame]:
        """Decode to the end. Raises UnreadableVideoError when not one frame can be decoded."""
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        try:
            if not capture.isOpened():
                raise UnreadableVideoError(f"OpenCV cannot decode {self._probe.codec} in this file")
            due = Fraction(0)
            while capture.grab():
                self._checkpoint()
                time = self._time(capture.get(cv2.CAP_PROP_POS_MSEC))
                self.frames_decoded += 1
                self.end = time
                if time < due:
                    continue
                due = time + self._interval
                readable, picture = capture.retrieve()
                if readable:
                    yield Frame(time, self._scaled(np.asarray(picture, dtype=np.uint8)))
        finally:
            capture.release()
        if self.frames_decoded == 0:
            raise UnreadableVideoError("not one frame could be decoded; the file is damaged")

    def _time(self, milliseconds: float) -> Fraction:
        """Turn OpenCV's float back into the tick it came from, and never run backwards."""
        ticks = round(milliseconds / 1000 / float(self._probe.time_base))
        time = ticks * self._probe.time_base
        if self.frames_decoded and time <= self.end:
            return self.end + 1 / (self._probe.frame_rate or _FALLBACK_FRAME_RATE)
        return max(time, Fraction(0))

    def _scaled(self, picture: npt.NDArray[np.uint8]) -> GreyImage:
        height, width = picture.shape[:2]
        target = (self._width, max(1, round(height * self._width / width)))
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        return cv2.resize(grey, target, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
