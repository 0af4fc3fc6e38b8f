"""Reading ffprobe's and ffmpeg's answers, and starting programs, without any video."""

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from app.video.stderr import Complaints
from app.video.errors import (
    MemoryLimitError,
    NoVideoStreamError,
    TimeLimitError,
    ToolError,
    UnreadableVideoError,
    VideoTooBigError,
)
from app.video.options import Limits
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


def matrix(a: int, b: int, c: int, d: int) -> str:
    rows = [(a << 16, b << 16, 0), (c << 16, d << 16, 0), (0, 0, 1 << 30)]
    lines = [f"{number:08d}: " + "".join(f"{value:12d}" for value in row)
             for number, row in enumerate(rows)]  # fmt: skip
    return "\n" + "\n".join(lines) + "\n"


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
        ({"side_data_list": [{"displaymatrix": matrix(0, 1, -1, 0)}]}, 90),
        ({"side_data_list": [{"displaymatrix": matrix(0, -1, 1, 0)}]}, 270),
        ({"side_data_list": [{"displaymatrix": matrix(-1, 0, 0, -1)}]}, 180),
        ({"side_data_list": [{"displaymatrix": "nonsense"}]}, 0),
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


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(ToolError, match="/nowhere/ffprobe could not be started"):
        run(["/nowhere/ffprobe"], timeout=1)


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(TimeLimitError, match=r"^sleep did not get through it in 0\.5 s$"):
        run(["sleep", "60"], timeout=0.5)


def test_programs_do_not_see_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "hunter2")
    assert b"hunter2" not in run(["env"], timeout=5).output


def test_a_program_that_wants_too_much_memory_gets_none() -> None:
    want = "x = bytearray(1 << 30); print('got it')"
    finished = run([sys.executable, "-c", want], timeout=20, limits=Limits(memory=512 << 20))
    assert finished.code != 0
    assert "MemoryError" in finished.error_tail


def test_a_file_that_announces_days_is_refused() -> None:
    stream = STREAM | {"duration": "2592000"}
    with pytest.raises(VideoTooBigError, match=r"announces 2592000 s .* limit of 86400 s"):
        parse(answer(stream))


def test_the_number_of_pictures_is_known_only_when_told() -> None:
    assert parse(answer(STREAM)).frames is None
    assert parse(answer(STREAM | {"nb_frames": "250"})).frames == 250


def test_the_upright_size_is_what_a_player_shows() -> None:
    turned = parse(answer(STREAM | {"side_data_list": [{"displaymatrix": matrix(0, 1, -1, 0)}]}))
    assert (turned.upright_size, parse(answer(STREAM)).upright_size) == ((480, 640), (640, 480))


LOG = b"""[info] Input #0, mov, from 'file:/data/v':
[h264 @ 0x55d0] [error] error while decoding MB 3 4
[error] file:/data/v: Invalid data found
[error] file:/data/v: Invalid data found
[verbose]   Input stream #0:1 (audio): 9 packets read (2 bytes); 9 frames decoded;
[verbose]   Input stream #0:0 (video): 300 packets read (41 bytes); 297 frames decoded;
"""


def test_a_log_tells_how_much_was_decoded_and_what_went_wrong() -> None:
    log = Complaints()
    for start in range(0, len(LOG), 7):  # read in any pieces
        log.add(LOG[start : start + 7])
    log.add(b"")
    assert log.frames_decoded == 297
    words = "error while decoding MB 3 4 / the file: Invalid data found"
    assert log.last_words(path=Path("/data/v")) == words
    assert log.failure(0, path=Path("/data/v"), limits=Limits()) is None
    assert words in str(log.failure(1, path=Path("/data/v"), limits=Limits()))


def test_a_log_without_end_is_kept_in_part() -> None:
    log = Complaints()
    for number in range(3000):
        log.add(b"[error] " + str(number).encode() * 100)
    log.add(b"")
    assert len(log.last_words(path=Path("x"))) < 2000


@pytest.mark.parametrize(
    ("code", "line", "error", "message"),
    [
        (1, b"[error] Cannot allocate memory\n", MemoryLimitError, "than the 2048 MiB"),
        (-11, b"", UnreadableVideoError, "ended by SIGSEGV"),
        (-9, b"", ToolError, "ffmpeg was killed"),
        (1, b"", UnreadableVideoError, "no message"),
    ],
)
def test_each_way_to_fail_has_a_reason(
    code: int, line: bytes, error: type[Exception], message: str
) -> None:
    log = Complaints()
    log.add(line)
    failure = log.failure(code, path=Path("x"), limits=Limits())
    assert isinstance(failure, error)
    assert message in str(failure)
