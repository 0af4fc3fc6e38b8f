"""Names of the files that an analysis stores with its results (`Storage.kept`).

They are named by analysis and position, so a second attempt overwrites those of the first.
"""

import uuid

PREVIEW = "preview.mp4"


def video_picture(width: int) -> str:
    """Return the name of a video's picture."""
    return f"video-{width}.jpg"


def event_picture(analysis_id: uuid.UUID, position: int, width: int) -> str:
    """Return the name of an event's picture."""
    return f"{analysis_id}-{position}-{width}.jpg"
