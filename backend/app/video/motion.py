"""Measures how much of the picture changes, second by second.

A detector is given frames one at a time (`process_frame`) and asked for its findings at the end
(`finish`), so that another method can take this one's place.
"""

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from app.video.source import GreyImage

# A pixel counts as moving when its grey value (0 to 255) changes by more than this between samples.
# Compression noise after blurring stays below 10.
CHANGE_THRESHOLD = 15
_BLUR = (5, 5)


@dataclass(frozen=True)
class SecondScore:
    """Motion within one second of the video."""

    second: int
    score: float
    """Share of moving pixels, 0 to 1, averaged over the second's samples."""


@dataclass(frozen=True)
class MotionSummary:
    """What a detector found."""

    frames_sampled: int
    mean_brightness: float
    """0 (black) to 255 (white)."""
    seconds: tuple[SecondScore, ...]
    """Ordered; a second without samples is absent."""


class FrameDifference:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._previous: GreyImage | None = None
        self._brightness = 0.0
        self._frames = 0
        self._scores: dict[int, list[float]] = {}

    def process_frame(self, time: Fraction, image: GreyImage) -> None:
        """Take in the frame shown at `time`. The first one has nothing to differ from: score 0."""
        blurred = cv2.GaussianBlur(image, _BLUR, 0).astype(np.uint8, copy=False)
        score = 0.0
        if self._previous is not None:
            change = cv2.absdiff(blurred, self._previous)
            score = float(np.count_nonzero(change > CHANGE_THRESHOLD)) / change.size
        self._previous = blurred
        self._brightness += float(image.mean())
        self._frames += 1
        self._scores.setdefault(int(time), []).append(score)

    def finish(self) -> MotionSummary:
        """Sum up. Raises ValueError if no frame was given."""
        if self._frames == 0:
            raise ValueError("finish() needs at least one frame")
        return MotionSummary(
            frames_sampled=self._frames,
            mean_brightness=self._brightness / self._frames,
            seconds=tuple(
                SecondScore(second, sum(scores) / len(scores))
                for second, scores in sorted(self._scores.items())
            ),
        )
