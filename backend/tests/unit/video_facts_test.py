"""Reading ffprobe's answers and measuring motion, without any program or file."""

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from app.video.errors import NoVideoStreamError, ToolError, UnreadableVideoError, VideoTooBigError
from app.video.motion import FrameDifference
from app.video.probe import parse
from app.video.process import run

STREAM: dict[str, Any] = {
    "codec_type": "video",
    "codec_name": "h264",
    "width": 640,
    "height": 480,
    "avg_frame_rate": "30000/1001",
    "r_frame_rate": "30/1",
    "time_base": "1/30000",
    "duration": "12.345000",
}


def answer(*streams: dict[str, Any], **container: str) -> bytes:
    return json.dumps({"format": {"format_name": "mov"} | container, "streams": streams}).encode()


def test_rates_and_times_are_exact() -> None:
    facts = parse(answer(STREAM))
    assert facts.frame_rate == Fraction(30000, 1001)
    assert facts.duration == Fraction(12345, 1000)
    assert facts.time_base == Fraction(1, 30000)


def test_absent_facts_are_none_and_never_zero() -> None:
    stream = STREAM | {"avg_frame_rate": "0/0", "r_frame_rate": "0/0", "duration": "N/A"}
    facts = parse(answer(stream))
    assert (facts.frame_rate, facts.duration) == (None, None)


def test_a_containers_duration_stands_in_unless_sound_may_be_what_it_measures() -> None:
    stream = STREAM | {"duration": "N/A"}
    silent = parse(answer(stream, duration="10.0"))
    loud = parse(answer(stream, {"codec_type": "audio"}, duration="10.0"))
    ten = Fraction(10)
    assert (silent.duration, silent.picture_duration) == (ten, ten)
    assert (loud.duration, loud.picture_duration, loud.has_audio) == (ten, None, True)


def test_matroskas_own_duration_tag_is_read() -> None:
    stream = STREAM | {"duration": "N/A", "tags": {"DURATION": "00:01:02.500000000"}}
    assert parse(answer(stream, {"codec_type": "audio"})).picture_duration == Fraction(125, 2)


@pytest.mark.parametrize(
    ("extra", "degrees"),
    [
        ({}, 0),
        ({"side_data_list": [{"rotation": -90}]}, 90),
        ({"side_data_list": [{"rotation": 90}]}, 270),
        ({"side_data_list": [{"rotation": 180}]}, 180),
        ({"tags": {"rotate": "90"}}, 90),
        ({"tags": {"rotate": "sideways"}}, 0),
    ],
)
def test_rotation_is_told_clockwise(extra: dict[str, Any], degrees: int) -> None:
    assert parse(answer(STREAM | extra)).rotation == degrees


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (b"", UnreadableVideoError, "recognises no media"),
        (b"{}", UnreadableVideoError, "recognises no media"),
        (answer(), NoVideoStreamError, "it holds nothing"),
        (answer({"codec_type": "audio"}), NoVideoStreamError, "it holds audio"),
        (
            answer({"codec_type": "audio"}, STREAM | {"disposition": {"attached_pic": 1}}),
            NoVideoStreamError,
            "it holds audio and video",
        ),
        (answer(STREAM | {"width": 0}), UnreadableVideoError, "no picture size"),
        (answer(STREAM | {"width": 99999, "height": 99999}), VideoTooBigError, "99999x99999"),
    ],
)
def test_what_is_no_usable_video_is_refused_with_a_reason(
    output: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse(output)


def test_motion_is_the_share_of_pixels_that_change() -> None:
    detector = FrameDifference()
    still = np.full((100, 100), 50, np.uint8)
    moved = still.copy()
    moved[:50, :] = 200
    for step, image in enumerate([still, still, moved, moved]):
        detector.process_frame(Fraction(step, 2), image)
    found = detector.finish()
    assert found.frames_sampled == 4
    # Half the rows change once, plus the row or two that the blur drags along; averaged over two.
    assert [item.second for item in found.seconds] == [0, 1]
    assert found.seconds[0].score == 0
    assert found.seconds[1].score == pytest.approx(0.25, abs=0.02)
    assert found.mean_brightness == pytest.approx((50 * 3 + 200) / 4, abs=1)


def test_noise_below_the_threshold_is_no_motion() -> None:
    detector = FrameDifference()
    random = np.random.default_rng(1)
    for step in range(10):
        noise = random.integers(95, 105, (100, 100)).astype(np.uint8)
        detector.process_frame(Fraction(step, 5), noise)
    assert all(item.score == 0 for item in detector.finish().seconds)


def test_a_second_without_pictures_is_absent() -> None:
    detector = FrameDifference()
    image = np.zeros((10, 10), np.uint8)
    for time in (Fraction(0), Fraction(5)):
        detector.process_frame(time, image)
    assert [item.second for item in detector.finish().seconds] == [0, 5]


def test_no_frames_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        FrameDifference().finish()


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(ToolError, match="/nowhere/ffprobe could not be started"):
        run(["/nowhere/ffprobe"], timeout=1)


def test_a_program_that_hangs_is_ended_and_its_last_words_told() -> None:
    with pytest.raises(ToolError, match=r"did not end within 0\.5 s; last words"):
        run(["sh", "-c", "echo last words >&2; exec sleep 60"], timeout=0.5)


def test_programs_do_not_see_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "hunter2")
    assert b"hunter2" not in run(["env"], timeout=5).output
