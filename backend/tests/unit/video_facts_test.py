"""Parsing the output of ffprobe and ffmpeg, and running programs, without any video."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from app.video.complaints import explain, readable
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
from app.video.process import run, stream
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


def test_decoder_that_asks_for_memory_for_ever_is_stopped() -> None:
    endless = "while :; do echo '[h264] Decoding error: Cannot allocate memory' >&2; done"
    for attempt in (run, lambda *words, **limits: list(stream(*words, **limits))):
        with pytest.raises(MemoryLimitError, match="exceeded the memory limit of 7 MiB"):
            attempt(["sh", "-c", endless], timeout=60, limits=Limits(memory=7 << 20))


def test_program_that_closes_its_output_and_goes_on_times_out() -> None:
    with pytest.raises(TimeLimitError, match=r"^sh timed out after 0\.5 s$"):
        run(["sh", "-c", "exec >&- 2>&-; while :; do :; done"], timeout=0.5)


def test_secrets_are_not_passed_to_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "hunter2")
    assert b"hunter2" not in run(["env"], timeout=5).output


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
    words = "error while decoding MB 3 4\nthe file: Invalid data found"
    assert log.last_errors(path=Path("/data/v")) == words
    assert log.failure(0, path=Path("/data/v"), limits=Limits()) is None
    failure = log.failure(1, path=Path("/data/v"), limits=Limits())
    assert failure is not None
    assert failure.log == words
    assert "MB 3 4" not in str(failure)


@pytest.mark.parametrize(("errors", "failed"), [(33, False), (34, True)])
def test_more_than_a_tenth_of_frames_undecoded_is_a_failure_whatever_the_exit_code(
    errors: int, failed: bool
) -> None:
    log = FfmpegLog()
    counts = f"300 packets read (41 bytes); 300 frames decoded; {errors} decode errors; "
    log.add(f"[in#0/mov @ 0x5] [verbose]   Input stream #0:0 (video): {counts}\n".encode())
    assert (log.failure(0, path=Path("x"), limits=Limits()) is not None) == failed
    too_large = b"[h264 @ 0x5] [error] Picture size 1920x1080 exceeds specified max pixel count\n"
    log.add(too_large)
    assert isinstance(
        log.failure(0, path=Path("x"), limits=Limits()), VideoTooBigError if failed else type(None)
    )


def test_endless_log_is_kept_in_part() -> None:
    log = FfmpegLog()
    for number in range(3000):
        log.add(b"[error] " + str(number).encode() * 100)
    log.add(b"")
    kept = log.last_errors(path=Path("x"))
    assert kept is not None
    assert len(kept) < 2000


@pytest.mark.parametrize(
    ("code", "line", "error", "message"),
    [
        (1, b"[error] Cannot allocate memory\n", MemoryLimitError, "memory limit of 2048 MiB"),
        (-11, b"", UnreadableVideoError, "ffmpeg crashed with SIGSEGV"),
        (-9, b"", ToolError, "ffmpeg was killed"),
        (1, b"", UnreadableVideoError, "ffmpeg cannot decode the video; the file is damaged"),
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


def test_errors_count_as_damage_only_after_the_first_frame() -> None:
    log = FfmpegLog()
    lead_in = b"[h264 @ 0x55d0] [error] non-existing PPS 0 referenced\n"
    first = b"[graph 0 input from stream 0:0 @ 0x55d1] [verbose] w:320 h:240 pixfmt:yuv420p\n"
    log.add(lead_in * 3 + first)
    assert log.damages == 0
    log.add(b"[h264 @ 0x55d0] [error] error while decoding MB 3 4\n" * 2)
    assert log.damages == 2


@pytest.mark.parametrize(
    ("facts", "rate"),
    [
        ({"avg_frame_rate": "0/0", "r_frame_rate": "1000/1"}, None),
        ({"avg_frame_rate": "90000/1"}, None),
        ({"avg_frame_rate": "50/1", "nb_frames": "250", "duration": "10"}, None),
        ({"avg_frame_rate": "25/1", "nb_frames": "250", "duration": "10"}, Fraction(25)),
        ({"avg_frame_rate": "240/1", "duration": "N/A"}, Fraction(240)),
    ],
)
def test_frame_rate_is_that_of_frames_or_unknown(
    facts: dict[str, Any], rate: Fraction | None
) -> None:
    assert parse(ffprobe_output(STREAM | facts)).frame_rate == rate


@pytest.mark.parametrize(
    ("durations", "rate"),
    [
        (("48000", "48000"), Fraction(25)),
        (("40040",), Fraction(30000, 1001)),
        (("40040", "60060"), Fraction(24000, 1001)),  # a film in a broadcast, with fields repeated
        (("N/A", "48000"), Fraction(25)),
        ((), Fraction(24)),
    ],
)
def test_rate_of_a_stream_without_container_is_that_of_its_packets(
    durations: tuple[str, ...], rate: Fraction
) -> None:
    rates = {"avg_frame_rate": "24/1", "r_frame_rate": "50/1", "time_base": "1/1200000"}
    stream = {name: value for name, value in STREAM.items() if name != "duration"} | rates
    document = json.loads(ffprobe_output(stream, format_name="h264"))
    document["packets"] = [{"stream_index": 0, "duration": value} for value in durations]
    assert parse(json.dumps(document).encode()).frame_rate == rate


def test_times_count_from_the_first_packet_of_any_stream() -> None:
    document = json.loads(ffprobe_output(STREAM | {"start_time": "2.5", "duration": "10"}))
    document["format"] |= {"start_time": "1.5", "duration": "12"}
    facts = parse(json.dumps(document).encode())
    assert (facts.start, facts.duration) == (Fraction(3, 2), Fraction(11))


def test_displayed_size_has_square_pixels() -> None:
    wide = STREAM | {"width": 360, "height": 720, "sample_aspect_ratio": "3:1"}
    turned = wide | {"side_data_list": [{"displaymatrix": matrix(0, 1, -1, 0)}]}
    assert parse(ffprobe_output(wide)).display_size == (1080, 720)
    assert parse(ffprobe_output(turned)).display_size == (720, 1080)
    assert parse(ffprobe_output(STREAM | {"sample_aspect_ratio": "0:1"})).display_size == (640, 480)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"creation_time": "2026-03-01T10:20:30.000000Z"}, "2026-03-01T10:20:30+00:00"),
        (
            {
                "creation_time": "2026-03-01T10:20:30.000000Z",
                "com.apple.quicktime.creationdate": "2026-03-01T12:20:31+0200",
            },
            "2026-03-01T10:20:31+00:00",
        ),
        ({"creation_time": "1904-01-01T00:00:00.000000Z"}, None),
        ({"creation_time": "1970-01-01T00:00:00.000000Z"}, None),
        ({"creation_time": "2999-01-01T00:00:00.000000Z"}, None),
        ({"creation_time": "2026-03-01 10:20:30"}, None),
        ({"creation_time": "yesterday"}, None),
        ({}, None),
    ],
)
def test_recording_time_is_taken_from_the_file(tags: dict[str, str], found: str | None) -> None:
    document = json.loads(ffprobe_output(STREAM))
    document["format"]["tags"] = tags
    recorded_at = parse(json.dumps(document).encode()).recorded_at
    assert (None if recorded_at is None else recorded_at.isoformat()) == found


def test_encrypted_video_is_called_encrypted() -> None:
    document = json.loads(ffprobe_output(STREAM))
    document["packets"] = [{}, {"side_data_list": [{"side_data_type": "Encryption info"}]}]
    with pytest.raises(UnreadableVideoError, match=r"^the video is encrypted"):
        parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("output", "sentence", "log"),
    [
        (
            "[hls @ 0x55dbb553e500] Format not on whitelist 'mov'\nfile:/d: Invalid argument",
            "an HLS playlist is not accepted; accepted are MP4, MOV",
            "the file: Invalid argument",
        ),
        (
            "Not detecting m3u8/hls with non standard extension\n[mov @ 0x5] moov atom not found",
            "an HLS playlist is not accepted; accepted are MP4, MOV",
            "mov: moov atom not found",
        ),
        (
            "[png_pipe @ 0x55dbb553e500] Format not on whitelist 'mov,matroska'",
            "an image (PNG) is not accepted",
            None,
        ),
        (
            "[zzz @ 0x1] Format not on whitelist 'mov'",
            "a file of the kind 'zzz' is not accepted",
            None,
        ),
        (
            "[asv1 @ 0x1] Codec (asv1) not on whitelist 'h264,aac'\nCould not open codec",
            "a stream with the codec 'asv1' is not accepted; accepted are MP4, MOV",
            "Could not open codec",
        ),
        (
            "[mov,mp4 @ 0x5] moov atom not found\nfile:/d: Invalid data found",
            "has no index (moov atom not found)",
            "mov: moov atom not found\nthe file: Invalid data found",
        ),
        (
            "eeds master element at 0x13f1\n[matroska,webm @ 0x5] EBML header parsing failed",
            "the Matroska or WebM file is damaged at its start",
            "eeds master element at 0x13f1\nmatroska: EBML header parsing failed",
        ),
        (
            "0x55d] thread_get_buffer() failed\n Last message repeated 1 times\nConversion failed!",
            "the content is not a video in a known format, or it is damaged; accepted are",
            None,
        ),
    ],
)
def test_complaints_become_one_sentence(output: str, sentence: str, log: str | None) -> None:
    error = explain(output, path=Path("/d"))
    assert sentence in str(error)
    assert "\n" not in str(error)
    assert error.log == log


def test_long_lines_of_a_log_end_with_a_word() -> None:
    (line,) = (readable("word " * 200, path="x") or "").split("\n")
    assert len(line) < 310
    assert line.endswith("word …")
