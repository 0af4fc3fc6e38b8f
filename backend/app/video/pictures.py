"""Encode pictures of an analysis as JPEGs. Needs OpenCV, so import it late."""

import cv2
import numpy as np

from app.video.decode import ColourImage
from app.video.findings import Box

_RED = (0, 0, 255)
_QUALITY = 85


def to_jpeg(picture: ColourImage, *, width: int, box: Box | None = None) -> bytes:
    """Return the picture as a JPEG `width` wide, with `box` outlined."""
    height = max(2, round(picture.shape[0] * width / picture.shape[1]))
    drawn = picture.copy()
    if (width, height) != picture.shape[1::-1]:
        drawn = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    if box is not None:
        first = (round(box.x * width), round(box.y * height))
        last = (round((box.x + box.width) * width) - 1, round((box.y + box.height) * height) - 1)
        cv2.rectangle(drawn, first, last, _RED, thickness=2)
    encoded, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not encoded:
        raise ValueError(f"OpenCV cannot encode a picture of {drawn.shape}")
    return data.tobytes()
