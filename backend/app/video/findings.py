"""The result of an analysis. All times are exact seconds from the start of the video."""

from dataclasses import dataclass
from fractions import Fraction

from app.video.probe import Probe


@dataclass(frozen=True)
class Box:
    """A bounding box of motion at one moment, in fractions (0 to 1) of the upright frame."""

    time: Fraction
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Event:
    """A period of motion."""

    start: Fraction
    end: Fraction
    peak_time: Fraction
    """Time of the most motion; the best moment for a thumbnail."""
    peak_score: float
    """Share (0 to 1) of the region's pixels that moved at that time."""
    boxes: tuple[Box, ...]
    """Chronological; the largest of each moment. A long event keeps a bounded selection."""

    @property
    def peak_box(self) -> Box | None:
        """The largest box at the peak, or at the time closest to it."""
        return min(
            self.boxes,
            key=lambda box: (abs(box.time - self.peak_time), -box.width * box.height),
            default=None,
        )


@dataclass(frozen=True)
class Timeline:
    """How much moved when. The number of buckets is bounded, however long the video."""

    bucket: Fraction
    """Duration of each bucket in seconds."""
    scores: tuple[float, ...]
    """Largest share (0 to 1) of the region that moved in each bucket."""


@dataclass(frozen=True)
class Analysis:
    """The result of an analysis."""

    probe: Probe
    events: tuple[Event, ...]
    timeline: Timeline
    frames_decoded: int
    frames_analysed: int
    duration: Fraction
    """In seconds, found by decoding: to the end of the last frame."""
    warning: str | None = None
    """A sentence for users if a part of the file is missing or damaged."""
    log: str | None = None
    """The lines of ffmpeg's log behind it."""
