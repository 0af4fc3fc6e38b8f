"""Tells what moves in a picture, given the pictures before it. Needs OpenCV: import it late.

    picture ─light─▶ logarithmic ─▶ differs from the background (MOG2)   ┐
                                 ─▶ differs from a moment ago, a second ago ┴▶ blobs ─▶ Motion

Something moves where a picture differs both from the background and from what was there a moment
ago: what has stopped, and the hole that something left behind, differ from the background only.
What light explains (a lamp, a shadow, a flicker, a fade) is no motion.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from app.video import light
from app.video.blobs import Blob, Image, Mask, blobs, lit
from app.video.decode import GreyImage
from app.video.events import Motion
from app.video.findings import Box
from app.video.options import WHOLE_PICTURE, Parameters
from app.video.steady import steadied, typical

# The workers are what runs in parallel; OpenCV's threads would only starve the API beside them.
cv2.setNumThreads(1)

# Seconds after which a change is looked for: of what moves at an ordinary pace, and of slow things.
NEAR_S, FAR_S = 1 / 6, 2.0
_ROUNDING = 1e-6
# Seconds in which the background forgets: what stands still this long becomes part of it.
MEMORY_S = 20.0
_NOISE_SIGMAS = 4.0
_NOISE_SAMPLES = 25
_MOST_NOISE = 8.0
# Over this share of the picture no single thing moves: a cut, a fade, or the camera itself.
_EVERYWHERE = 0.5
# How many appearances of a place the background knows, such as a leaf before the sky and the sky.
_STATES = 3
# The background's picture is asked for once in so many pictures: it changes slowly.
_REFRESHED = 5
# Most of the picture differs from the background by more than this: a new background is needed.
_OUTDATED = 6.0
_SMALLEST_BLOB = 6  # pixels at working size
_2X2, _3X3, _5X5 = (np.ones((side, side), np.uint8) for side in (2, 3, 5))


@dataclass(frozen=True)
class Thresholds:
    """What must be exceeded, at one sensitivity."""

    change: float
    """Difference of logarithmic grey values (0 to 255)."""
    area: float
    """Share of the picture that a moving thing fills."""

    @classmethod
    def at(cls, sensitivity: float) -> "Thresholds":
        """Return the thresholds of a sensitivity of 0 to 1: a step of 0.5 is a factor."""
        steps = (0.5 - sensitivity) * 2
        return cls(change=12.0 * 2.4**steps, area=0.0008 * 10.0**steps)


class MotionDetector:
    """Takes pictures in the order of time."""

    def __init__(self, parameters: Parameters) -> None:
        self._region = parameters.region or WHOLE_PICTURE
        self._thresholds = Thresholds.at(parameters.sensitivity)
        self._background = _Background()
        self._past: deque[tuple[float, GreyImage]] = deque()
        self._moved_at = np.zeros((1, 1), np.float32)
        self._noise = _Noise()

    def process_frame(self, time: Fraction, image: GreyImage) -> Motion:
        """Take in the picture shown at `time` (seconds), always of the same size."""
        picture = light.logarithmic(cv2.GaussianBlur(image, (5, 5), 0).astype(np.uint8, copy=False))
        now = float(time)
        if not self._past:
            self._background.forget(picture)
            self._moved_at = np.full(picture.shape, -1.0, np.float32)
            self._remember(picture, now)
            return Motion(time, 0.0, sure=False)
        least = max(_SMALLEST_BLOB, self._thresholds.area * picture.size)
        against = self._background.image
        picture, residue = steadied(picture, against, light.change(picture, against))
        foreground = self._background.differs(residue, now)
        evidence = self._evidence(picture, now, foreground, least=least)
        if self._background.outdated(residue):
            # After a fade there is a new background; while the camera turns there is none.
            self._background.forget(picture)
            against = self._reference(now, NEAR_S)[1]
            residue = light.change(picture, against)
            foreground = np.asarray(cv2.dilate(evidence, _5X5), np.uint8)
        self._remember(picture, now)
        moving = cv2.bitwise_and(evidence, foreground)
        area = cv2.countNonZero(moving)
        if area < least / 4:
            return Motion(time, 0.0, sure=False)
        foreground[lit(picture, against)] = 0
        if area > _EVERYWHERE * picture.size:
            self._background.forget(picture)
        return self._judge(time, moving, foreground, residue, least=least)

    def _remember(self, picture: GreyImage, now: float) -> None:
        self._past.append((now, picture))
        while len(self._past) > 1 and now - self._past[1][0] >= FAR_S - _ROUNDING:
            self._past.popleft()

    def _reference(self, now: float, age: float) -> tuple[float, GreyImage]:
        """Return the newest picture at least `age` seconds old, else the oldest there is."""
        for past in reversed(self._past):
            if now - past[0] >= age - _ROUNDING:
                return past
        return self._past[0]

    def _evidence(self, picture: GreyImage, now: float, foreground: Mask, *, least: float) -> Mask:
        """Return where the picture differs from a moment ago, or slowly became different."""
        near = cv2.convertScaleAbs(light.change(picture, self._reference(now, NEAR_S)[1]))
        threshold = max(self._thresholds.change, _NOISE_SIGMAS * self._noise.level(near))
        moved = (near > threshold).astype(np.uint8)
        still = self._moved_at
        self._moved_at = np.where(cv2.dilate(moved, _5X5) > 0, np.float32(now), still)
        if cv2.countNonZero(cv2.bitwise_and(moved, foreground)) >= least:
            return moved  # something moves at an ordinary pace: no need to look for slow things
        then, image = self._reference(now, FAR_S)
        # What changed at once since then has moved and may have stopped: that is not slow.
        far = cv2.convertScaleAbs(light.change(picture, image))
        slow = ((far > threshold) & (still <= then)).astype(np.uint8)
        wide = cv2.morphologyEx(slow, cv2.MORPH_OPEN, _2X2)
        return np.asarray(cv2.bitwise_or(moved, wide), np.uint8)

    def _judge(
        self, time: Fraction, moving: Image, foreground: Mask, residue: Image, *, least: float
    ) -> Motion:
        found = blobs(moving, foreground, residue, least=least / 2)
        return Motion(
            time,
            min(1.0, sum(blob.area for blob in found) / foreground.size),
            sure=bool(found) and found[0].area >= least,
            boxes=tuple(self._box(time, blob, foreground.shape) for blob in found),
        )

    def _box(self, time: Fraction, blob: Blob, shape: tuple[int, ...]) -> Box:
        region, (height, width) = self._region, shape[:2]
        return Box(
            time,
            region.x + blob.x / width * region.width,
            region.y + blob.y / height * region.height,
            blob.width / width * region.width,
            blob.height / height * region.height,
        )


class _Background:
    """What the picture looks like when nothing moves (`image`)."""

    _learned_at = 0.0

    def __init__(self) -> None:
        self.forget(np.zeros((1, 1), np.uint8))

    def forget(self, picture: GreyImage) -> None:
        """Begin again with this picture."""
        self._model = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
        self._model.setNMixtures(_STATES)
        self._model.apply(picture, learningRate=1.0)
        self._seen = 1
        self.image = picture

    def differs(self, residue: light.Grid, now: float) -> Mask:
        """Return where a picture is not the background; then learn from it.

        `residue` is how it differs, light apart.
        """
        seen = cv2.add(residue, self.image, dtype=cv2.CV_8U)
        self._seen += 1
        # Learns in seconds, not in pictures, but quickly at first.
        elapsed, self._learned_at = now - self._learned_at, now
        rate = max(1 - math.exp(-elapsed / MEMORY_S), 1 / (2 * self._seen))
        mask = self._model.apply(seen, learningRate=rate)
        if self._seen < _REFRESHED or self._seen % _REFRESHED == 0:
            self.image = np.asarray(self._model.getBackgroundImage(), np.uint8)
        return (np.asarray(mask) > 0).astype(np.uint8)

    @staticmethod
    def outdated(residue: Image) -> bool:
        """Tell whether most of the picture is not what it was, as after a fade."""
        return typical(residue) > _OUTDATED


class _Noise:
    """Estimates how much pictures differ where nothing moves."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_NOISE_SAMPLES)

    def level(self, difference: Image) -> float:
        """Return the standard deviation of noise in the differences of two pictures."""
        some = np.ascontiguousarray(difference[::2, ::2])
        counts = np.cumsum(np.bincount(some.ravel(), minlength=256))
        # 70 % of a normal distribution lies within 1.04 standard deviations.
        self._recent.append(float(np.searchsorted(counts, counts[-1] * 0.7)) / 1.04)
        # Motion that fills the picture looks like noise too, but not all the time.
        return min(statistics.median(self._recent), _MOST_NOISE)
