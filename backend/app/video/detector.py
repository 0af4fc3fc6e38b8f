"""Tells what moves in a picture, given the pictures before it. Needs OpenCV: import it late."""

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from app.video.decode import GreyImage
from app.video.events import Motion
from app.video.findings import Box
from app.video.options import WHOLE_PICTURE, Parameters

# The workers are what runs in parallel; OpenCV's threads would only starve the API beside them.
cv2.setNumThreads(1)


class MotionDetector:
    """Takes pictures in the order of time."""

    def __init__(self, parameters: Parameters) -> None:
        self._region = parameters.region or WHOLE_PICTURE
        self._subtractor = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
        self._previous: npt.NDArray[Any] | None = None

    def process_frame(self, time: Fraction, image: GreyImage) -> Motion:
        """Take in the picture shown at `time`."""
        blurred = cv2.GaussianBlur(image, (5, 5), 0)
        mask = self._subtractor.apply(blurred)
        previous, self._previous = self._previous, blurred
        if previous is None:
            return Motion(time, 0.0, sure=False)
        moving = ((cv2.absdiff(blurred, previous) > 12) & (mask > 0)).astype(np.uint8)
        mask = cv2.dilate(moving, np.ones((5, 5), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        least = max(9, mask.size // 1000)
        big = [stats[number] for number in range(1, count) if stats[number][4] >= least]
        area = sum(int(blob[4]) for blob in big)
        return Motion(
            time, area / mask.size, sure=area > 0,
            boxes=tuple(self._box(time, blob, mask.shape) for blob in big[:8]),
        )  # fmt: skip

    def _box(self, time: Fraction, blob: npt.NDArray[np.int32], shape: tuple[int, ...]) -> Box:
        height, width = shape[:2]
        region = self._region
        return Box(
            time,
            region.x + float(blob[0]) / width * region.width,
            region.y + float(blob[1]) / height * region.height,
            float(blob[2]) / width * region.width,
            float(blob[3]) / height * region.height,
        )
