"""Parsing the output of ffprobe and ffmpeg, and running programs, without any video."""

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

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
from app.video.stderr import FfmpegLog

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


def ffprobe_output(*streams: dict[str, Any], **container: str) -> bytes:
    return json.dumps({"format": {"format_name": "mov"} | container, "streams": streams}).encode()


def test_rates_and_times_are_exact() -> None:
    facts = parse(ffprobe_output(STREAM))
    assert facts.frame_rate == Fraction(30000, 1001)
    assert facts.duration == Fraction(12345, 1000)
    assert facts.time_base == Fraction(1, 30000)


def test_missing_values_are_none_not_zero() -> None:
    stream = STREAM | {"avg_frame_rate": "0/0", "r_frame_rate": "0/0", "duration": "N/A"}
    facts = parse(ffprobe_output(stream))
    assert (facts.frame_rate, facts.duration) == (None, None)


def test_container_duration_counts_as_video_duration_only_without_audio() -> None:
    stream = STREAM | {"duration": "N/A"}
    silent = parse(ffprobe_output(stream, duration="10.0"))
    with_audio = parse(ffprobe_output(stream, {"codec_type": "audio"}, duration="10.0"))
    ten = Fraction(10)
    assert (silent.duration, silent.video_duration) == (ten, ten)
    assert (with_audio.duration, with_audio.video_duration, with_audio.has_audio) == (
        ten,
        None,
        True,
    )


def test_matroska_duration_tag_is_parsed() -> None:
    stream = STREAM | {"duration": "N/A", "tags": {"DURATION": "00:01:02.500000000"}}
    assert parse(ffprobe_output(stream, {"codec_type": "audio"})).video_duration == Fraction(125, 2)


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
def test_rotation_is_clockwise(extra: dict[str, Any], degrees: int) -> None:
    assert parse(ffprobe_output(STREAM | extra)).rotation == degrees


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (b"", UnreadableVideoError, "does not recognise the file as media"),
        (b"{}", UnreadableVideoError, "does not recognise the file as media"),
        (ffprobe_output(), NoVideoStreamError, "the file has no streams"),
        (
            ffprobe_output({"codec_type": "audio"}),
            NoVideoStreamError,
            "no video stream, only audio",
        ),
        (
            ffprobe_output({"codec_type": "audio"}, STREAM | {"disposition": {"attached_pic": 1}}),
            NoVideoStreamError,
            "no video stream, only audio and cover art",
        ),
        (ffprobe_output(STREAM | {"width": 0}), UnreadableVideoError, "no frame size"),
        (
            ffprobe_output(STREAM | {"width": 99999, "height": 99999}),
            VideoTooBigError,
            "99999x99999",
        ),
    ],
)
def test_unusable_video_is_rejected_with_a_reason(
    output: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse(output)


def test_missing_program_is_named_in_the_error() -> None:
    with pytest.raises(ToolError, match="cannot start /nowhere/ffprobe"):
        run(["/nowhere/ffprobe"], timeout=1)


def test_hanging_program_times_out() -> None:
    with pytest.raises(TimeLimitError, match=r"^sleep timed out after 0\.5 s$"):
        run(["sleep", "60"], timeout=0.5)


def test_secrets_are_not_passed_to_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "hunter2")
    assert b"hunter2" not in run(["env"], timeout=5).output


def test_memory_of_programs_is_limited() -> None:
    program = "x = bytearray(1 << 30); print('allocated')"
    finished = run([sys.executable, "-c", program], timeout=20, limits=Limits(memory=512 << 20))
    assert finished.code != 0
    assert "MemoryError" in finished.error_tail


def test_duration_above_the_limit_is_rejected() -> None:
    stream = STREAM | {"duration": "2592000"}
    with pytest.raises(
        VideoTooBigError, match="duration of 2592000 s exceeds the limit of 86400 s"
    ):
        parse(ffprobe_output(stream))


def test_frame_count_is_optional() -> None:
    assert parse(ffprobe_output(STREAM)).frames is None
    assert parse(ffprobe_output(STREAM | {"nb_frames": "250"})).frames == 250


def test_display_size_matches_players() -> None:
    turned = parse(
        ffprobe_output(STREAM | {"side_data_list": [{"displaymatrix": matrix(0, 1, -1, 0)}]})
    )
    assert (turned.display_size, parse(ffprobe_output(STREAM)).display_size) == (
        (480, 640),
        (640, 480),
    )


LOG = b"""[info] Input #0, mov, from 'file:/data/v':
[h264 @ 0x55d0] [error] error while decoding MB 3 4
[error] file:/data/v: Invalid data found
[error] file:/data/v: Invalid data found
[verbose]   Input stream #0:1 (audio): 9 packets read (2 bytes); 9 frames decoded;
[verbose]   Input stream #0:0 (video): 300 packets read (41 bytes); 297 frames decoded;
"""


def test_log_yields_frame_count_and_errors() -> None:
    log = FfmpegLog()
    for start in range(0, len(LOG), 7):  # in chunks of any size
        log.add(LOG[start : start + 7])
    log.add(b"")
    assert log.frames_decoded == 297
    words = "error while decoding MB 3 4 / the file: Invalid data found"
    assert log.last_errors(path=Path("/data/v")) == words
    assert log.failure(0, path=Path("/data/v"), limits=Limits()) is None
    assert words in str(log.failure(1, path=Path("/data/v"), limits=Limits()))


def test_endless_log_is_kept_in_part() -> None:
    log = FfmpegLog()
    for number in range(3000):
        log.add(b"[error] " + str(number).encode() * 100)
    log.add(b"")
    assert len(log.last_errors(path=Path("x"))) < 2000


@pytest.mark.parametrize(
    ("code", "line", "error", "message"),
    [
        (1, b"[error] Cannot allocate memory\n", MemoryLimitError, "memory limit of 2048 MiB"),
        (-11, b"", UnreadableVideoError, "ffmpeg crashed with SIGSEGV"),
        (-9, b"", ToolError, "ffmpeg was killed"),
        (1, b"", UnreadableVideoError, "no error message"),
    ],
)
def test_every_failure_has_a_reason(
    code: int, line: bytes, error: type[Exception], message: str
) -> None:
    log = FfmpegLog()
    log.add(line)
    failure = log.failure(code, path=Path("x"), limits=Limits())
    assert isinstance(failure, error)
    assert message in str(failure)
