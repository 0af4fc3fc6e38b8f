"""Extract moving objects from change masks: connected, with sharp edges, not caused by light."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from app.video.decode import GreyImage

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.uint8]

MAX_BLOBS = 6
# An object with less than this share of its area moving stands still; only its border changes.
_MOVING_SHARE = 0.03
# Least variance of a recognisable texture, and least squared correlation of matching ones.
_TEXTURE = 6.0
_ALIKE = 0.7
# Slope of a soft border, per pixel, relative to the height of the change.
_SOFT_SLOPE = 0.06
_3X3, _5X5 = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)


@dataclass(frozen=True)
class Blob:
    """A moving object: its area and bounding box in pixels."""

    area: int
    x: int
    y: int
    width: int
    height: int


def find_blobs(moving: Image, foreground: Mask, residue: Image, *, min_area: float) -> list[Blob]:
    """Return the largest objects of at least `min_area` pixels, largest first.

    `foreground` marks where the frame differs by `residue`, `moving` where the difference is
    recent.
    """
    whole = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, _3X3)
    whole = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, _5X5)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(whole, ltype=cv2.CV_16U)
    evidence = cv2.calcHist([labels], [0], moving, [count], [0, count]).ravel()
    areas = facts[:, cv2.CC_STAT_AREA]
    enough = (areas >= min_area) & (evidence >= np.maximum(3, _MOVING_SHARE * areas))
    enough[0] = False  # the background
    found: list[Blob] = []
    for number in np.argsort(-areas * enough, kind="stable")[: np.count_nonzero(enough)]:
        x, y, width, height, area = facts[number].tolist()
        part = (slice(y, y + height), slice(x, x + width))
        if not _has_soft_border(residue[part], labels[part] == number):
            found.append(Blob(area, x, y, width, height))
        if len(found) == MAX_BLOBS:
            break
    return found


def _has_soft_border(residue: Image, inside: npt.NDArray[np.bool_]) -> bool:
    """Return whether a blob fades out towards its border, as light does and objects do not."""
    values = cv2.blur(residue.astype(np.float32), (3, 3))
    steep = np.maximum(
        np.abs(cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8)),
        np.abs(cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8)),
    )
    heights = np.abs(values[inside])
    height = np.partition(heights, rank := int(len(heights) * 0.9))[rank]
    # The 95th percentile of the slopes, without sorting them.
    soft = np.count_nonzero((steep < _SOFT_SLOPE * height) & inside)
    return bool(soft > int(len(heights) * 0.95))


def same_texture(frame: GreyImage, before: GreyImage) -> Mask:
    """Return where the texture of `before` is still visible, so that only the light changed."""
    height, width = frame.shape
    half = (max(1, width // 2), max(1, height // 2))
    now, then = _detail(frame, half), _detail(before, half)
    window = (5, 5)
    both = cv2.blur(now * then, window)
    variance_now, variance_then = cv2.blur(now * now, window), cv2.blur(then * then, window)
    same = (
        (np.minimum(variance_now, variance_then) > _TEXTURE)
        & (both > 0)
        & (both * both > _ALIKE * variance_now * variance_then)
    )
    full_size = cv2.resize(same.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full_size, np.uint8)


def _detail(frame: GreyImage, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - cv2.blur(small, (7, 7)), np.float32)
