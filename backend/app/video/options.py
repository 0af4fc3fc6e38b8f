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
MAX_AREAS, MAX_POINTS = 20, 32
# Places per side of a zone at which is checked whether the masks cover all of it.
_SAMPLES = 16


@dataclass(frozen=True)
class Polygon:
    """An area with 3 to 32 corners in fractions (0 to 1) of the upright frame."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not 3 <= len(self.points) <= MAX_POINTS:
            raise ValueError(f"a polygon has 3 to {MAX_POINTS} points, not {len(self.points)}")
        for point in self.points:
            if not all(0 <= value <= 1 for value in point):
                raise ValueError(f"the points of a polygon lie between 0 and 1, unlike {point}")
        sides = (max(axis) - min(axis) for axis in zip(*self.points, strict=True))
        if not all(side > 0 for side in sides):
            raise ValueError("the points of a polygon must not lie on a line")


Area = Region | Polygon


def corners(area: Area) -> tuple[tuple[float, float], ...]:
    """Return the points of an area's border, in order."""
    if isinstance(area, Polygon):
        return area.points
    right, bottom = min(1.0, area.x + area.width), min(1.0, area.y + area.height)
    return ((area.x, area.y), (right, area.y), (right, bottom), (area.x, bottom))


def contains(area: Area, x: float, y: float) -> bool:
    """Return whether a point lies inside an area (even-odd rule)."""
    points, inside = corners(area), False
    for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside


@dataclass(frozen=True)
class Parameters:
    """Detection parameters. Raise ValueError if a value is out of range."""

    sensitivity: float = 0.5
    """0 (only large, distinct motion) to 1 (anything distinguishable from noise)."""
    minimum_duration: Fraction = Fraction(1, 2)
    """In seconds; shorter motion is not an event."""
    zones: tuple[Area, ...] = ()
    """The parts of the frame to watch; none means all of it."""
    masks: tuple[Area, ...] = ()
    """The parts of the frame, or of zones, to leave out."""
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
        for name, areas in (("zones", self.zones), ("masks", self.masks)):
            if len(areas) > MAX_AREAS:
                raise ValueError(f"at most {MAX_AREAS} {name} are possible, not {len(areas)}")
        if self.masks and not self._watches_anything():
            raise ValueError("the masks leave nothing of the frame or the zones to watch")

    @property
    def bounds(self) -> Region:
        """The smallest rectangle that holds all zones."""
        points = [point for zone in self.zones for point in corners(zone)]
        if not points:
            return WHOLE_FRAME
        if len(self.zones) == 1 and isinstance(self.zones[0], Region):
            return self.zones[0]
        (left, right), (top, bottom) = (
            (min(axis), max(axis)) for axis in zip(*points, strict=True)
        )
        return Region(left, top, right - left, bottom - top)

    def _watches_anything(self) -> bool:
        for zone in self.zones or (WHOLE_FRAME,):
            xs, ys = zip(*corners(zone), strict=True)
            for number in range(_SAMPLES**2):
                # In the order of a jump through all places, since most zones are mostly free.
                column, row = divmod(number * 101 % _SAMPLES**2, _SAMPLES)
                x = min(xs) + (max(xs) - min(xs)) * (column + 0.5) / _SAMPLES
                y = min(ys) + (max(ys) - min(ys)) * (row + 0.5) / _SAMPLES
                if contains(zone, x, y) and not any(contains(mask, x, y) for mask in self.masks):
                    return True
        return False


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
    work: int | None = None
    """Pixels times frames that one picture or clip may cost to decode; None for no limit."""


DEFAULT_LIMITS = Limits()


def no_checkpoint() -> None:
    """Never abort: the checkpoint of callers that wait to the end."""
