"""Turns what differs into things: what holds together, has edges, and is no trick of the light."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from app.video.decode import GreyImage

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.uint8]

MOST_BLOBS = 6
# What has less than this share of its area moving stands still, but for its border.
_MOVING_SHARE = 0.03
# Variance of a texture that can be recognised, and how well it must be (correlation squared).
_TEXTURE = 6.0
_ALIKE = 0.7
# Slope of a soft border, per pixel, as a share of the height.
_SOFT_SLOPE = 0.06
_3X3, _5X5 = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)


@dataclass(frozen=True)
class Blob:
    """A thing that moves: its place in pixels, and how many of them it fills."""

    area: int
    x: int
    y: int
    width: int
    height: int


def blobs(moving: Image, foreground: Mask, residue: Image, *, least: float) -> list[Blob]:
    """Return the largest things of at least `least` pixels, largest first.

    `foreground` is where a picture differs by `residue`, `moving` where it did not differ before.
    """
    whole = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, _3X3)
    whole = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, _5X5)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(whole)
    evidence = np.bincount(labels[moving > 0], minlength=count)
    areas = facts[:, cv2.CC_STAT_AREA]
    enough = (areas >= least) & (evidence >= np.maximum(3, _MOVING_SHARE * areas))
    enough[0] = False  # the ground
    found: list[Blob] = []
    for number in sorted(np.flatnonzero(enough), key=lambda number: -int(areas[number])):
        x, y, width, height, area = (int(value) for value in facts[number])
        part = (slice(y, y + height), slice(x, x + width))
        if not _soft(residue[part], labels[part] == number):
            found.append(Blob(area, x, y, width, height))
        if len(found) == MOST_BLOBS:
            break
    return found


def _soft(residue: Image, inside: npt.NDArray[np.bool_]) -> bool:
    """Tell whether a blob fades out towards its border, as light does and things do not."""
    values = cv2.blur(residue.astype(np.float32), (3, 3))
    steep = np.maximum(
        np.abs(cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8)),
        np.abs(cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8)),
    )
    return _upper(steep[inside], 0.95) < _SOFT_SLOPE * _upper(np.abs(values)[inside], 0.9)


def _upper(values: Image, share: float) -> float:
    place = int(len(values) * share)
    return float(np.partition(values, place)[place])


def lit(picture: GreyImage, before: GreyImage) -> npt.NDArray[np.bool_]:
    """Return where the texture of `before` still shows, brighter or darker: no thing covers it."""
    height, width = picture.shape
    half = (max(1, width // 2), max(1, height // 2))
    now, then = _detail(picture, half), _detail(before, half)
    window = (5, 5)
    both = cv2.blur(now * then, window)
    spread_now, spread_then = cv2.blur(now * now, window), cv2.blur(then * then, window)
    same = (
        (np.minimum(spread_now, spread_then) > _TEXTURE)
        & (both > 0)
        & (both * both > _ALIKE * spread_now * spread_then)
    )
    grown = cv2.resize(same.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(grown) > 0


def _detail(picture: GreyImage, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - cv2.blur(small, (7, 7)), np.float32)
