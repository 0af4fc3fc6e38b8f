"""Undoes the trembling of a camera in the wind, so that only the rest counts as motion."""

import cv2
import numpy as np

from app.video import light
from app.video.decode import GreyImage

# Farther than this a camera does not tremble, it turns (pixels at working size).
FARTHEST = 4.0
# Typical difference from the background at which trembling is worth looking for.
_NOTICEABLE = 2.5
# Moving a picture back must leave less than this share of the difference.
_WORTHWHILE = 0.7


def steadied(
    picture: GreyImage, background: GreyImage, residue: light.Grid
) -> tuple[GreyImage, light.Grid]:
    """Return the picture moved back by what the camera moved, or as it is.

    `residue` is how it differs from the background; so is the second of the answer.
    """
    before = typical(residue)
    height, width = picture.shape
    if before < _NOTICEABLE or min(width, height) < 16:
        return picture, residue
    half = (width // 2, height // 2)
    (x, y), _ = cv2.phaseCorrelate(
        cv2.resize(background, half, interpolation=cv2.INTER_AREA).astype(np.float32),
        cv2.resize(picture, half, interpolation=cv2.INTER_AREA).astype(np.float32),
    )
    if max(abs(x), abs(y)) * 2 > FARTHEST:
        return picture, residue
    matrix = np.array([[1, 0, -x * 2], [0, 1, -y * 2]])
    moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    steady = np.asarray(moved, np.uint8)
    after = light.change(steady, background)
    return (steady, after) if typical(after) < _WORTHWHILE * before else (picture, residue)


def typical(residue: light.Grid) -> float:
    """Return by how much most of a picture differs: the mean without the largest third."""
    some = cv2.convertScaleAbs(residue[::2, ::2])
    counts = np.bincount(some.ravel(), minlength=256)
    ranks = np.cumsum(counts)
    kept = int(np.searchsorted(ranks, ranks[-1] * 2 // 3)) + 1
    return float(counts[:kept] @ np.arange(kept) / max(1, ranks[kept - 1]))
