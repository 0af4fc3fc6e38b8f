"""What an analysis finds. All times are exact seconds from the start of the video."""

from dataclasses import dataclass
from fractions import Fraction

from app.video.probe import Probe


@dataclass(frozen=True)
class Box:
    """Where something moved at one moment: shares (0 to 1) of the whole upright picture."""

    time: Fraction
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Event:
    """A stretch of time in which something moves."""

    start: Fraction
    end: Fraction
    peak_time: Fraction
    """When most of the picture moved; the moment for a thumbnail."""
    peak_score: float
    """Share (0 to 1) of the region's pixels that moved then."""
    boxes: tuple[Box, ...]
    """Ordered by time, some of each moment's largest; a long event keeps a bounded selection."""


@dataclass(frozen=True)
class Timeline:
    """How much moved when. The number of entries is bounded, however long the video."""

    bucket: Fraction
    """Seconds that each entry stands for."""
    scores: tuple[float, ...]
    """The largest share (0 to 1) of the region that moved within the bucket."""


@dataclass(frozen=True)
class Analysis:
    """All that is known of a video after looking at it."""

    probe: Probe
    events: tuple[Event, ...]
    timeline: Timeline
    frames_decoded: int
    frames_analysed: int
    duration: Fraction
    """Seconds, as found by decoding: to the end of the last picture."""
