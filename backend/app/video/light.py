"""Compensate for changes of light, so that only the rest counts as motion.

Grey values are made logarithmic first: light that becomes a third brighter then adds the same
amount everywhere, whatever it shines on. That amount varies slowly across the frame, while a moving
object has edges.
"""

import cv2
import numpy as np
import numpy.typing as npt

from app.video.decode import GreyImage

Grid = npt.NDArray[np.int16]

# Keeps noise in dark frames from being amplified.
_OFFSET = 64.0
# The change of light is estimated on a grid with this many cells on the longer side,
_CELLS = 40
# as the median over this many cells, so that objects covering less than half of them do not count.
_WINDOW = 15
_CURVE = np.log((np.arange(256) + _OFFSET) / _OFFSET)
_TABLE = np.rint(_CURVE / _CURVE[-1] * 255).astype(np.uint8)


def logarithmic(image: GreyImage) -> GreyImage:
    """Return the image on a scale on which changes of light are additive."""
    return cv2.LUT(image, _TABLE).astype(np.uint8, copy=False)


def change(image: GreyImage, before: GreyImage) -> Grid:
    """Return the difference of two logarithmic images, without the change of light."""
    difference = cv2.subtract(image, before, dtype=cv2.CV_16S)
    height, width = difference.shape[:2]
    cell = max(1, max(width, height) // _CELLS)
    grid = (max(1, width // cell), max(1, height // cell))
    # Whole cells only, which is four times as fast.
    whole = difference[: grid[1] * cell, : grid[0] * cell]
    coarse = cv2.resize(whole, grid, interpolation=cv2.INTER_AREA)
    # Halved, because medianBlur with a large window needs bytes: -256 to 254 in steps of two.
    half = np.clip(coarse // 2 + 128, 0, 255).astype(np.uint8)
    smooth = cv2.blur(cv2.medianBlur(half, _WINDOW), (3, 3)).astype(np.int16)
    light = cv2.resize((smooth - 128) * 2, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.subtract(difference, light), np.int16)
