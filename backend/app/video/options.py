"""Options of the library: programs, detection parameters and resource limits."""

from dataclasses import dataclass
from fractions import Fraction

MIN_RATE, MAX_RATE = Fraction(1, 10), Fraction(30)


@dataclass(frozen=True)
class Tools:
    """The programs that read videos: paths, or names on PATH."""

    ffmpeg: str = "ffmpeg"
    ffprobe: str = "ffprobe"


@dataclass(frozen=True)
class Region:
    """A rectangle in fractions (0 to 1) of the upright frame. Raise ValueError if outside it."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        inside = (
            self.x >= 0
            and self.y >= 0
            and self.width > 0
            and self.height > 0
            # Sums of decimal fractions, such as 0.7 + 0.3, may exceed 1 by a rounding error.
            and self.x + self.width <= 1 + 1e-9
            and self.y + self.height <= 1 + 1e-9
        )
        if not inside:
            raise ValueError(
                "a region must have x and y of at least 0, positive width and height, and must not "
                f"extend beyond 1; got {self}"
            )


WHOLE_FRAME = Region(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Parameters:
    """Detection parameters. Raise ValueError if a value is out of range."""

    sensitivity: float = 0.5
    """0 (only large, distinct motion) to 1 (anything distinguishable from noise)."""
    minimum_duration: Fraction = Fraction(1, 2)
    """In seconds; shorter motion is not an event."""
    region: Region | None = None
    """The part of the frame to analyse; None means all of it."""
    frame_rate: Fraction = Fraction(5)
    """Frames analysed per second of video, 1/10 to 30."""

    def __post_init__(self) -> None:
        if not 0 <= self.sensitivity <= 1:
            raise ValueError(f"sensitivity must be between 0 and 1, not {self.sensitivity}")
        if self.minimum_duration < 0:
            raise ValueError(f"minimum_duration must not be negative: {self.minimum_duration}")
        if not MIN_RATE <= self.frame_rate <= MAX_RATE:
            raise ValueError(
                f"frame_rate must be between {MIN_RATE} and {MAX_RATE} per second, "
                f"not {self.frame_rate}"
            )


@dataclass(frozen=True)
class Limits:
    """Resource limits for processing one file. Exceeding one raises an error."""

    pixels: int = 8192 * 4320
    """Width times height of a frame; the default allows 8K."""
    duration: Fraction = Fraction(24 * 60 * 60)
    """Length of the video in seconds."""
    memory: int = 2 << 30
    """Data of each ffmpeg and ffprobe process in bytes (RLIMIT_DATA)."""
    wall_time: float = 1800.0
    """Processing time in seconds."""


DEFAULT_LIMITS = Limits()


def no_checkpoint() -> None:
    """Never abort: the checkpoint of callers that wait to the end."""
