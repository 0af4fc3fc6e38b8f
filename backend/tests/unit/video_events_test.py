"""From motion scores to events and a timeline, and validation of parameters."""

import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction

import pytest
from tests.support.servers import BACKEND

from app.video import Box, Event, Parameters, Polygon, Region
from app.video.decode import to_coded, working_size
from app.video.events import MANY_EVENTS, MAX_BOXES, EventBuilder, Motion
from app.video.timeline import MAX_BUCKETS, TimelineBuilder

FIFTH = Fraction(1, 5)
WHOLE, CORNER = Region(0, 0, 1, 1), Region(0.5, 0.5, 0.5, 0.5)


def events_of(signs: Iterable[str], *, minimum: Fraction = Fraction(1, 2)) -> tuple[Event, ...]:
    """Build events from a frame every 0.2 s: `#` certain motion, `+` uncertain, `.` none."""
    builder = EventBuilder(minimum_duration=minimum)
    time = Fraction(0)
    for number, sign in enumerate(signs):
        time = number * FIFTH
        score = {".": 0.0, "+": 0.01, "#": 0.1}[sign]
        boxes = (Box(time, 0.1, 0.1, 0.2, 0.2),) if score else ()
        builder.add(Motion(time, score, sure=sign == "#", boxes=boxes))
    return builder.finish(end=time + FIFTH)


def spans(signs: str, *, minimum: Fraction = Fraction(1, 2)) -> list[tuple[float, float]]:
    return [(float(e.start), float(e.end)) for e in events_of(signs, minimum=minimum)]


def test_event_starts_and_ends_between_two_frames() -> None:
    assert spans(".....#####......") == [(0.9, 1.9)]


def test_uncertain_motion_extends_an_event_but_does_not_start_one() -> None:
    assert spans("....++####++....") == [(0.7, 2.3)]
    assert spans("....++++++++....") == []


def test_uncertain_motion_after_a_pause_does_not_extend_an_event() -> None:
    assert spans(".....####..+..+..+..+.....") == [(0.9, 1.7)]


def test_short_pause_is_bridged_and_a_long_one_is_not() -> None:
    assert len(spans("..####....####..........")) == 1
    assert len(spans("..####......####........")) == 2


def at(*times: str, moving: str) -> list[tuple[float, float]]:
    """Return the events of frames at `times`, of which `moving` (# or .) says which move."""
    builder = EventBuilder(minimum_duration=Fraction(1, 2))
    for time, sign in zip(times, moving, strict=True):
        builder.add(Motion(Fraction(time), 0.1 if sign == "#" else 0, sure=sign == "#"))
    events = builder.finish(end=Fraction(times[-1]))
    return [(float(event.start), float(event.end)) for event in events]


@pytest.mark.parametrize("distance", ["0.2", "1", "1.01", "1.12", "2", "5", "10"])
def test_motion_without_pause_is_one_event_whatever_the_distance_of_frames(distance: str) -> None:
    times = [str(number * Fraction(distance)) for number in range(60)]
    assert at(*times, moving="#" * 60) == [(0, float(59 * Fraction(distance)))]


def test_unequal_distances_of_a_time_lapse_are_no_pauses() -> None:
    assert at("0", "2", "4", "7", "9", "13", "15", moving="#######") == [(0, 15)]


def test_frame_without_motion_ends_an_event_of_a_time_lapse_halfway() -> None:
    assert at("0", "2", "4", "6", "8", "10", "12", moving=".##..#.") == [(1, 5), (9, 11)]


def test_gap_in_a_recording_ends_an_event() -> None:
    times = [str(number * FIFTH) for number in range(10)]
    later = [str(60 + number * FIFTH) for number in range(10)]
    assert len(at(*times, *later, moving="#" * 20)) == 2


def test_event_is_reported_when_it_ends_with_the_picture_of_its_peak() -> None:
    seen: list[tuple[int, Fraction, str]] = []
    builder = EventBuilder(
        minimum_duration=Fraction(0),
        on_event=lambda position, event, picture: seen.append((position, event.end, picture)),
    )
    for number, score in enumerate([0, 0.1, 0.4, 0.2, 0, 0, 0, 0, 0, 0, 0.3]):
        builder.add(Motion(number * FIFTH, score, sure=score > 0), picture=f"frame {number}")
    assert seen == [(0, Fraction(7, 10), "frame 2")]
    builder.finish(end=Fraction(3))
    assert [picture for _, _, picture in seen] == ["frame 2", "frame 10"]


def test_too_short_motion_is_not_an_event() -> None:
    assert spans("......#.......") == []
    assert len(spans("......###.....")) == 1
    assert spans("......###.....", minimum=Fraction(2)) == []


def test_motion_in_every_frame_spans_the_whole_video() -> None:
    assert spans("##########") == [(0.0, 1.9)]


def test_peak_is_the_time_of_the_most_motion() -> None:
    builder = EventBuilder(minimum_duration=Fraction(0))
    for number, score in enumerate([0, 0.1, 0.4, 0.2, 0]):
        time = number * FIFTH
        builder.add(Motion(time, score, sure=score > 0))
    (event,) = builder.finish(end=Fraction(1))
    assert (event.peak_time, event.peak_score) == (2 * FIFTH, 0.4)


def test_long_event_keeps_a_bounded_selection_of_boxes() -> None:
    (event,) = events_of("#" * 5000)
    assert MAX_BOXES / 3 < len(event.boxes) <= MAX_BOXES + 1
    times = [box.time for box in event.boxes]
    assert times == sorted(times)
    assert times[-1] - times[0] > 900


def test_very_many_events_keep_only_their_peaks() -> None:
    events = events_of("####......" * (MANY_EVENTS + 5), minimum=Fraction(0))
    assert len(events) == MANY_EVENTS + 5
    assert (len(events[0].boxes), len(events[-1].boxes)) == (4, 1)


def test_timeline_is_bounded_and_keeps_its_peaks() -> None:
    builder = TimelineBuilder()
    for number in range(5 * 3600):
        builder.add(number * FIFTH, 1.0 if number == 9000 else 0.1)
    timeline = builder.finish()
    assert MAX_BUCKETS / 2 < len(timeline.scores) <= MAX_BUCKETS
    assert timeline.scores.index(1.0) == int(1800 / timeline.bucket)
    assert len(timeline.scores) * timeline.bucket >= 3600


def test_timeline_of_few_frames_has_no_gaps() -> None:
    builder = TimelineBuilder()
    builder.add(Fraction(0), 0.0)
    builder.add(Fraction(2), 0.3)
    assert builder.finish().scores == (0.0, 0.3, 0.3, 0.3, 0.3)


def test_jump_in_time_does_not_exhaust_memory() -> None:
    builder = TimelineBuilder()
    builder.add(Fraction(0), 0.5)
    builder.add(Fraction(10**9), 0.1)
    assert len(builder.finish().scores) <= MAX_BUCKETS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parameters(sensitivity=1.5), "sensitivity .* 1.5"),
        (lambda: Parameters(sensitivity=float("nan")), "sensitivity"),
        (lambda: Parameters(minimum_duration=Fraction(-1)), "minimum_duration"),
        (lambda: Parameters(frame_rate=Fraction(0)), "frame_rate"),
        (lambda: Parameters(frame_rate=Fraction(31)), "frame_rate"),
        (lambda: Polygon(((0, 0), (1, 1))), "3 to 32 points, not 2"),
        (lambda: Polygon(((0, 0), (1, 0), (0.5, 1.2))), "between 0 and 1"),
        (lambda: Polygon(((0, 0), (1, 0), (0.5, 0))), "on a line"),
        (lambda: Parameters(zones=(WHOLE,) * 21), "at most 20 zones"),
        (lambda: Parameters(masks=(WHOLE,)), "masks leave nothing"),
        (lambda: Parameters(zones=(CORNER,), masks=(CORNER,)), "masks leave nothing"),
        (lambda: Region(0.5, 0, 0.6, 1), "region"),
        (lambda: Region(0, 0, 0, 1), "region"),
        (lambda: Region(-0.1, 0, 0.5, 1), "region"),
        (lambda: Region(float("nan"), 0, 0.5, 1), "region"),
    ],
)
def test_parameter_out_of_range_is_rejected_with_a_reason(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_region_is_converted_for_rotated_frames() -> None:
    # Top left of the upright frame, to which players rotate the encoded frame clockwise.
    corner = Region(0, 0, 0.25, 0.5)
    assert to_coded(corner, rotation=0) == corner
    assert to_coded(corner, rotation=90) == Region(0, 0.75, 0.5, 0.25)
    assert to_coded(corner, rotation=180) == Region(0.75, 0.5, 0.25, 0.5)
    assert to_coded(corner, rotation=270) == Region(0.5, 0, 0.5, 0.25)
    assert to_coded(corner, rotation=0, mirrored=True) == Region(0.75, 0, 0.25, 0.5)
    assert to_coded(corner, rotation=90, mirrored=True) == Region(0.5, 0.75, 0.5, 0.25)


@pytest.mark.parametrize("size", [(1, 1), (16, 30000), (30000, 16), (320, 180), (7680, 4320)])
def test_working_size_is_small_for_any_aspect_ratio(size: tuple[int, int]) -> None:
    width, height = working_size(*size)
    assert min(width, height) >= 2
    assert max(width, height) <= 1024
    assert width * height <= 288 * 162 * 1.01


def test_importing_the_library_does_not_load_opencv() -> None:
    program = "import sys, app.video; print({'cv2', 'numpy'} & set(sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=BACKEND, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "set()"


def test_zones_are_surrounded_by_the_smallest_rectangle() -> None:
    triangle = Polygon(((0.25, 0.5), (0.75, 0.5), (0.5, 0.75)))
    assert Parameters().bounds == WHOLE
    assert Parameters(zones=(CORNER,)).bounds == CORNER
    assert Parameters(zones=(triangle,)).bounds == Region(0.25, 0.5, 0.5, 0.25)
    assert Parameters(zones=(triangle, CORNER)).bounds == Region(0.25, 0.5, 0.75, 0.5)
