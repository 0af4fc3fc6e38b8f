"""Compensate for camera shake, so that only the remaining motion counts."""

import cv2
import numpy as np
import numpy.typing as npt

from app.video import light
from app.video.decode import GreyImage

# A larger shift is a camera pan, not shake (pixels at working size).
MAX_SHIFT = 4.0
# Typical difference from the background above which shake is worth correcting.
_NOTICEABLE = 2.5
# The corrected frame must differ by less than this share of the original difference.
_WORTHWHILE = 0.7


def stabilize(
    frame: GreyImage, background: GreyImage, residue: light.Grid
) -> tuple[GreyImage, light.Grid, float]:
    """Return the frame shifted back by the camera's movement, or unchanged, and its residue.

    `residue` is the frame's difference from the background, as is the returned one; the number is
    its typical difference.
    """
    before = typical_difference(residue)
    height, width = frame.shape
    if before < _NOTICEABLE or min(width, height) < 16:
        return frame, residue, before
    half = (width // 2, height // 2)
    (x, y), _ = cv2.phaseCorrelate(
        cv2.resize(background, half, interpolation=cv2.INTER_AREA).astype(np.float32),
        cv2.resize(frame, half, interpolation=cv2.INTER_AREA).astype(np.float32),
    )
    if max(abs(x), abs(y)) * 2 > MAX_SHIFT:
        return frame, residue, before
    matrix = np.array([[1, 0, -x * 2], [0, 1, -y * 2]])
    shifted = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    stable = np.asarray(shifted, np.uint8)
    after = light.change(stable, background)
    remaining = typical_difference(after)
    if remaining < _WORTHWHILE * before:
        return stable, after, remaining
    return frame, residue, before


def typical_difference(residue: light.Grid) -> float:
    """Return how much most of a frame differs: the mean without the largest third."""
    counts = histogram(np.asarray(cv2.convertScaleAbs(residue[::2, ::2]), np.uint8))
    ranks = np.cumsum(counts)
    kept = int(np.searchsorted(ranks, ranks[-1] * 2 // 3)) + 1
    return float(counts[:kept] @ np.arange(kept) / max(1, ranks[kept - 1]))


def histogram(image: GreyImage) -> npt.NDArray[np.int64]:
    """Return how often each grey value occurs, five times as fast as numpy."""
    counts = cv2.calcHist([image], [0], None, [256], [0, 256])
    return np.asarray(counts).ravel().astype(np.int64)  # exact: there are fewer than 2**24 pixels
