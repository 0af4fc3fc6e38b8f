"""Detect motion in a frame, given the frames before it. Needs OpenCV, so import it late.

    frame → logarithmic → differs from the background (MOG2) and → blobs → Motion
                          from frames 1/6 s and 2 s older

Something moves where a frame differs both from the background and from recent frames. An object
that has stopped, or the gap it left behind, differs from the background only. Changes explained by
light (a lamp, a shadow, flicker, a fade) are not motion.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from app.video import light
from app.video.blobs import Blob, Image, Mask, find_blobs, same_texture
from app.video.decode import GreyImage
from app.video.events import Motion
from app.video.findings import Box
from app.video.options import Parameters, Region, corners
from app.video.stabilize import histogram, stabilize

# Workers run in parallel; OpenCV's own threads would only starve the API next to them.
cv2.setNumThreads(1)

# Ages in seconds of the reference frames, for motion at an ordinary pace and for slow motion.
NEAR_S, FAR_S = 1 / 6, 2.0
_ROUNDING = 1e-6
# Time constant of the background in seconds: an object still for this long becomes part of it.
MEMORY_S = 20.0
_NOISE_SIGMAS = 4.0
_NOISE_SAMPLES = 25
_MAX_NOISE = 8.0
# A change of more than this share of the frame is a cut, a fade, or camera motion, not an object.
_EVERYWHERE = 0.5
# Appearances per pixel that the background remembers, for example a leaf, and the sky behind it.
_STATES = 3
# The background image changes slowly, so it is refreshed only every so many frames.
_REFRESH_INTERVAL = 5
# Reset the background if most of the frame differs from it by more than this.
_OUTDATED = 6.0
_MIN_BLOB_AREA = 6  # pixels at working size
_LEFT_OUT = 128  # grey value of everything that is not watched
_2X2, _3X3, _5X5 = (np.ones((side, side), np.uint8) for side in (2, 3, 5))


@dataclass(frozen=True)
class Thresholds:
    """Detection thresholds at one sensitivity."""

    change: float
    """Least difference of logarithmic grey values (0 to 255)."""
    area: float
    """Least share of the frame that a moving object covers."""

    @classmethod
    def for_sensitivity(cls, sensitivity: float) -> "Thresholds":
        """Return the thresholds for a sensitivity of 0 to 1; they scale exponentially."""
        steps = (0.5 - sensitivity) * 2
        return cls(change=12.0 * 2.4**steps, area=0.0008 * 10.0**steps)


class MotionDetector:
    """Detects motion in frames passed in chronological order."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._region = parameters.bounds
        self._watched: Mask | None = None
        self._thresholds = Thresholds.for_sensitivity(parameters.sensitivity)
        self._background = _Background()
        self._past: deque[tuple[float, GreyImage]] = deque()
        self._moved_at = np.zeros((1, 1), np.float32)
        self._noise = _Noise()

    def process_frame(self, time: Fraction, image: GreyImage) -> Motion:
        """Return the motion in the frame at `time` (seconds). All frames have the same size."""
        if not self._past:
            self._watched = _watched(self._parameters, image.shape)
            self._pixels = image.size if self._watched is None else cv2.countNonZero(self._watched)
        if self._watched is not None:
            image = np.where(self._watched > 0, image, np.uint8(_LEFT_OUT))
        frame = light.logarithmic(cv2.GaussianBlur(image, (5, 5), 0).astype(np.uint8, copy=False))
        now = float(time)
        if not self._past:
            self._background.reset(frame, now)
            self._moved_at = np.full(frame.shape, -1.0, np.float32)
            self._remember(frame, now)
            return Motion(time, 0.0, sure=False)
        min_area = max(_MIN_BLOB_AREA, self._thresholds.area * self._pixels)
        reference = self._background.image
        frame, residue, difference = stabilize(frame, reference, light.change(frame, reference))
        recent = self._reference(now, NEAR_S)[1]
        since = light.change(frame, recent)
        if difference > _OUTDATED:
            # After a fade there is a new background; while the camera pans there is none.
            self._background.reset(frame, now)
            reference, residue = recent, since
            evidence = self._evidence(frame, now, since, np.ones_like(frame), min_area=min_area)
            foreground = np.asarray(cv2.dilate(evidence, _5X5), np.uint8)
        else:
            foreground = self._background.update(residue, now)
            evidence = self._evidence(frame, now, since, foreground, min_area=min_area)
        self._remember(frame, now)
        if self._watched is not None:
            foreground = np.asarray(cv2.bitwise_and(foreground, self._watched), np.uint8)
        moving = cv2.bitwise_and(evidence, foreground)
        area = cv2.countNonZero(moving)
        if area < min_area / 4:
            return Motion(time, 0.0, sure=False)
        foreground = np.asarray(cv2.subtract(foreground, same_texture(frame, reference)), np.uint8)
        if area > _EVERYWHERE * self._pixels:
            self._background.reset(frame, now)
        return self._to_motion(time, moving, foreground, residue, min_area=min_area)

    def _remember(self, frame: GreyImage, now: float) -> None:
        self._past.append((now, frame))
        while len(self._past) > 1 and now - self._past[1][0] >= FAR_S - _ROUNDING:
            self._past.popleft()

    def _reference(self, now: float, age: float) -> tuple[float, GreyImage]:
        """Return the newest frame at least `age` seconds old, otherwise the oldest one."""
        for past in reversed(self._past):
            if now - past[0] >= age - _ROUNDING:
                return past
        return self._past[0]

    def _evidence(
        self,
        frame: GreyImage,
        now: float,
        recent: light.Grid,
        foreground: Mask,
        *,
        min_area: float,
    ) -> Mask:
        """Return where the frame differs by `recent` from a recent one, or gradually changed."""
        near = cv2.convertScaleAbs(recent)
        threshold = max(self._thresholds.change, _NOISE_SIGMAS * self._noise.level(near))
        moved = _above(near, threshold)
        still = self._moved_at
        around = cv2.dilate(moved, _5X5)
        latest = cv2.copyTo(np.full_like(still, now), around, still.copy())
        self._moved_at = np.asarray(latest, np.float32)
        if cv2.countNonZero(cv2.bitwise_and(moved, foreground)) >= min_area:
            return moved  # motion at an ordinary pace, so no need to look for slow motion
        then, image = self._reference(now, FAR_S)
        # Exclude places that changed abruptly since then: that motion was not slow.
        far = cv2.convertScaleAbs(light.change(frame, image))
        slow = _above(far, threshold) & (still <= then).view(np.uint8)
        wide = cv2.morphologyEx(slow, cv2.MORPH_OPEN, _2X2)
        return np.asarray(cv2.bitwise_or(moved, wide), np.uint8)

    def _to_motion(
        self, time: Fraction, moving: Image, foreground: Mask, residue: Image, *, min_area: float
    ) -> Motion:
        blobs = find_blobs(moving, foreground, residue, min_area=min_area / 2)
        return Motion(
            time,
            min(1.0, sum(blob.area for blob in blobs) / self._pixels),
            sure=bool(blobs) and blobs[0].area >= min_area,
            boxes=tuple(self._box(time, blob, foreground.shape) for blob in blobs),
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


def _above(image: Image, threshold: float) -> Mask:
    return np.asarray(cv2.threshold(image, threshold, 1, cv2.THRESH_BINARY)[1], np.uint8)


def _watched(parameters: Parameters, shape: tuple[int, ...]) -> Mask | None:
    """Return where to look (1) in the rectangle around the zones; None means everywhere in it."""
    zones, masks = parameters.zones, parameters.masks
    if not masks and all(isinstance(zone, Region) for zone in zones) and len(zones) < 2:
        return None
    bounds, (height, width) = parameters.bounds, shape[:2]
    watched = np.full((height, width), 0 if zones else 1, np.uint8)
    for areas, value in ((zones, 1), (masks, 0)):
        for area in areas:
            points = np.array(corners(area)) - (bounds.x, bounds.y)
            # Corners of pixels, while OpenCV counts from their centres.
            points = points / (bounds.width, bounds.height) * (width, height) - 0.5
            cv2.fillPoly(watched, [np.rint(points * 16).astype(np.int32)], value, shift=4)
    if masks:
        # What moves beside a mask shines into it: blurred, and scaled down.
        watched = np.asarray(cv2.erode(watched, _3X3, borderValue=1), np.uint8)
    return watched


class _Background:
    """Model of the scene without motion; `image` is its current estimate."""

    def __init__(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
        self._model.setNMixtures(_STATES)
        self.reset(np.zeros((1, 1), np.uint8), 0.0)

    def reset(self, frame: GreyImage, now: float) -> None:
        """Start over from this frame."""
        self._frames, self._updated_at = 1, now
        self.image = frame

    def update(self, residue: light.Grid, now: float) -> Mask:
        """Return where a frame differs from the background, then learn from the frame.

        `residue` is the difference without what light explains.
        """
        if self._frames == 1:
            self._model.apply(self.image, learningRate=1.0)
        frame = cv2.add(residue, self.image, dtype=cv2.CV_8U)
        self._frames += 1
        # The rate depends on time, not on the number of frames, but is high at first.
        elapsed, self._updated_at = now - self._updated_at, now
        rate = max(1 - math.exp(-elapsed / MEMORY_S), 1 / (2 * self._frames))
        mask = self._model.apply(frame, learningRate=rate)
        if self._frames < _REFRESH_INTERVAL or self._frames % _REFRESH_INTERVAL == 0:
            self.image = np.asarray(self._model.getBackgroundImage(), np.uint8)
        return (np.asarray(mask) > 0).view(np.uint8)


class _Noise:
    """Estimates how much frames differ where nothing moves."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_NOISE_SAMPLES)

    def level(self, difference: Image) -> float:
        """Return the standard deviation of the noise in the difference of two frames."""
        sample = np.ascontiguousarray(difference[::2, ::2])
        counts = np.cumsum(histogram(sample))
        # 70 % of a normal distribution lies within 1.04 standard deviations.
        self._recent.append(float(np.searchsorted(counts, counts[-1] * 0.7)) / 1.04)
        # Motion that fills the frame looks like noise too, but never for long.
        return min(statistics.median(self._recent), _MAX_NOISE)
