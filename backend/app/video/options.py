"""What callers choose: which programs, what counts as an event, and how much may be spent."""

from dataclasses import dataclass
from fractions import Fraction

SMALLEST_RATE, LARGEST_RATE = Fraction(1, 10), Fraction(30)


@dataclass(frozen=True)
class Tools:
    """The programs that open videos: paths, or names on PATH."""

    ffmpeg: str = "ffmpeg"
    ffprobe: str = "ffprobe"


@dataclass(frozen=True)
class Region:
    """A rectangle as shares (0 to 1) of the upright picture. Raises ValueError when outside it."""

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
            # Sums of decimal shares, such as 0.7 + 0.3, may miss 1 by a rounding error.
            and self.x + self.width <= 1 + 1e-9
            and self.y + self.height <= 1 + 1e-9
        )
        if not inside:
            raise ValueError(
                "a region needs x and y of at least 0, a width and height over 0, and must end "
                f"within the picture (1); found {self}"
            )


WHOLE_PICTURE = Region(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Parameters:
    """What counts as an event. Raises ValueError for values out of bounds."""

    sensitivity: float = 0.5
    """0 (only what is large and stands out) to 1 (as little as can be told from noise)."""
    minimum_duration: Fraction = Fraction(1, 2)
    """Seconds; motion that ends sooner is no event."""
    region: Region | None = None
    """Where to look; None means everywhere."""
    frame_rate: Fraction = Fraction(5)
    """Pictures looked at per second of video, 1/10 to 30."""

    def __post_init__(self) -> None:
        if not 0 <= self.sensitivity <= 1:
            raise ValueError(f"sensitivity must lie between 0 and 1; found {self.sensitivity}")
        if self.minimum_duration < 0:
            raise ValueError(
                f"minimum_duration must not be negative; found {self.minimum_duration}"
            )
        if not SMALLEST_RATE <= self.frame_rate <= LARGEST_RATE:
            raise ValueError(
                f"frame_rate must lie between {SMALLEST_RATE} and {LARGEST_RATE} per second; "
                f"found {self.frame_rate}"
            )


@dataclass(frozen=True)
class Limits:
    """What one look at a file may cost. Going over is an error in words, never a dead worker."""

    pixels: int = 8192 * 4320
    """Width times height of one picture; the default admits 8K."""
    duration: Fraction = Fraction(24 * 60 * 60)
    """Seconds of video."""
    memory: int = 2 << 30
    """Bytes of data of each ffmpeg and ffprobe (RLIMIT_DATA)."""
    wall_time: float = 1800.0
    """Seconds that the work may take."""


DEFAULT_LIMITS = Limits()


def no_stop() -> None:
    """Be the checkpoint of whoever waits to the end."""
