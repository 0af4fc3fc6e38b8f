"""Video analysis as a library.

It does not depend on the database, HTTP or Celery. Times are exact (`fractions.Fraction` seconds
from the start of the stream); a float frame count never represents time. Importing it is cheap: the
first analysis loads OpenCV and numpy.
"""

from app.video.analysis import analyse
from app.video.errors import (
    MemoryLimitError,
    NoVideoStreamError,
    TimeLimitError,
    ToolError,
    UnreadableVideoError,
    VideoError,
    VideoTooBigError,
)
from app.video.extract import convert, cut_clip, thumbnail
from app.video.findings import Analysis, Box, Event, Timeline
from app.video.options import Area, Limits, Parameters, Polygon, Region, Tools
from app.video.probe import Probe, probe

__all__ = [
    "Analysis",
    "Area",
    "Box",
    "Event",
    "Limits",
    "MemoryLimitError",
    "NoVideoStreamError",
    "Parameters",
    "Polygon",
    "Probe",
    "Region",
    "TimeLimitError",
    "Timeline",
    "ToolError",
    "Tools",
    "UnreadableVideoError",
    "VideoError",
    "VideoTooBigError",
    "analyse",
    "convert",
    "cut_clip",
    "probe",
    "thumbnail",
]
