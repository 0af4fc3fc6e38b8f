"""The video library on real files: supported, rejected and damaged ones, and clean-up."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support import clips, films, scenes
from tests.support.servers import BACKEND, eventually

from app.video import (
    Analysis,
    Limits,
    MemoryLimitError,
    NoVideoStreamError,
    Parameters,
    Region,
    TimeLimitError,
    ToolError,
    Tools,
    UnreadableVideoError,
    VideoError,
    VideoTooBigError,
    analyse,
    cut_clip,
    probe,
    thumbnail,
)
from app.video.decode import Frame, FrameSource

DEFAULT = Limits(wall_time=60)


def ignore(*_: object) -> None:
    """Do nothing."""


def look(
    path: Path,
    *,
    parameters: Parameters | None = None,
    limits: Limits = DEFAULT,
    progress: Callable[[float], None] = ignore,
    checkpoint: Callable[[], None] = ignore,
    ffmpeg: str | None = None,
) -> Analysis:
    tools = clips.tools()
    return analyse(
        path,
        tools=Tools(ffmpeg=ffmpeg or tools.ffmpeg, ffprobe=tools.ffprobe),
        parameters=parameters or Parameters(),
        limits=limits,
        progress=progress,
        checkpoint=checkpoint,
    )


def frames(path: Path, *, rate: int, region: Region | None = None) -> list[Frame]:
    facts = probe(path, tools=clips.tools())
    with FrameSource(
        path, tools=clips.tools(), probe=facts, rate=Fraction(rate), region=region,
        limits=DEFAULT, check=ignore,
    ) as source:  # fmt: skip
        return list(source)


def children() -> list[str]:
    """Return the names of running ffmpeg and ffprobe processes started by this process."""
    names = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # exited in the meantime
            # proc(5): number, name in parentheses, state, parent.
            head, _, rest = path.read_text(errors="replace").rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                names.append(head.partition("(")[2])
    # Servers of other tests may be running too.
    return [name for name in names if name in {"ffmpeg", "ffprobe"}]


def test_motion_is_found_at_the_right_time_and_place(clip_dir: Path) -> None:
    found = look(clips.still_then_moving(clip_dir / "scene.mp4"))
    (event,) = found.events
    assert float(event.start) == pytest.approx(3, abs=0.25)
    assert float(event.end) == pytest.approx(6, abs=0.25)
    for box in event.boxes:
        # The square has 60 pixels of 320 by 240 and moves at 100 pixels per second at y = 90.
        assert box.y == pytest.approx(90 / 240, abs=0.06)
        assert box.x == pytest.approx((float(box.time) - 3) * 100 / 320, abs=0.08)
        assert box.height == pytest.approx(60 / 240, abs=0.1)
    assert (found.frames_decoded, found.frames_analysed) == (90, 45)
    assert found.duration == 9
    moving = [index * found.timeline.bucket for index, s in enumerate(found.timeline.scores) if s]
    assert min(moving) == 3
    assert max(moving) == 6  # it is still there at 6.0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov", ".flv"])
def test_common_containers_are_supported(suffix: str, clip_dir: Path) -> None:
    found = look(clips.pattern(clip_dir / f"container{suffix}", seconds=1))
    assert (found.probe.codec, found.frames_decoded) == ("h264", 25)
    assert len(found.events) == 1


def test_fractional_frame_rate_is_exact(clip_dir: Path) -> None:
    path = clips.pattern(clip_dir / "ntsc.mp4", rate="30000/1001")
    assert probe(path, tools=clips.tools()).frame_rate == Fraction(30000, 1001)
    times = [frame.time for frame in frames(path, rate=30)]
    assert times[:3] == [0, Fraction(1001, 30000), Fraction(1001, 15000)]


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_rotated_frames_are_upright(degrees: int, turns: int, clip: Path, clip_dir: Path) -> None:
    rotated = clips.rotated(clip, clip_dir / f"turned{degrees}.mp4", degrees=degrees)
    facts = probe(rotated, tools=clips.tools())
    assert (facts.width, facts.height, facts.rotation) == (320, 240, degrees)
    original, upright = frames(clip, rate=1)[0].image, frames(rotated, rate=1)[0].image
    assert np.array_equal(upright, np.rot90(original, k=turns))


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((-1, 0, 0, 1), 0), ((0, -1, -1, 0), -1), ((1, 0, 0, -1), 2), ((0, 1, 1, 0), 1)],
)
def test_mirrored_frames_match_their_display(
    matrix: tuple[int, int, int, int], turns: int, clip: Path, tmp_path: Path
) -> None:
    mirrored = clips.with_display_matrix(clip, tmp_path / "mirrored.mp4", matrix=matrix)
    original, upright = frames(clip, rate=1)[0].image, frames(mirrored, rate=1)[0].image
    assert np.array_equal(upright, np.rot90(np.fliplr(original), k=turns))
    # ffmpeg's own interpretation, which thumbnails show.
    height, width = upright.shape
    shown = cv2.imdecode(
        np.frombuffer(
            thumbnail(mirrored, tools=clips.tools(), time=Fraction(0), width=width), np.uint8
        ),
        cv2.IMREAD_GRAYSCALE,
    )
    assert shown is not None
    assert shown.shape == (height, width)
    assert np.abs(shown.astype(int) - upright).mean() < 8
    assert np.abs(shown[:, ::-1].astype(int) - upright).mean() > 20


def test_motion_in_a_mirrored_video_is_found_on_the_displayed_side(
    clip_dir: Path, tmp_path: Path
) -> None:
    path = clips.still_then_moving(clip_dir / "scene-mirror.mp4")  # moves from left to right
    mirrored = clips.with_display_matrix(path, tmp_path / "mirrored.mp4", matrix=(-1, 0, 0, 1))
    (event,) = look(mirrored).events
    assert event.boxes[0].x > 0.5 > event.boxes[-1].x
    right = Parameters(zones=(Region(0.75, 0.25, 0.25, 0.5),))
    (event,) = look(mirrored, parameters=right).events
    assert float(event.start) == pytest.approx(3, abs=0.4)


def test_region_refers_to_the_upright_frame(clip: Path, clip_dir: Path) -> None:
    region = Region(0.5, 0.0, 0.5, 0.25)
    turned = clips.rotated(clip, clip_dir / "turned-region.mp4", degrees=90)
    whole, part = frames(turned, rate=1)[0].image, frames(turned, rate=1, region=region)[0].image
    height, width = whole.shape
    expected = whole[: height // 4, width // 2 :]
    assert part.shape[1] / part.shape[0] == pytest.approx(
        expected.shape[1] / expected.shape[0], abs=0.1
    )
    assert part.mean() == pytest.approx(expected.mean(), abs=3)
    assert part.std() == pytest.approx(expected.std(), rel=0.1)


def test_motion_outside_the_region_is_ignored(clip_dir: Path) -> None:
    path = clips.still_then_moving(clip_dir / "scene-region.mp4")
    assert not look(path, parameters=Parameters(zones=(Region(0, 0.75, 1, 0.25),))).events
    (event,) = look(path, parameters=Parameters(zones=(Region(0.5, 0.25, 0.5, 0.5),))).events
    assert float(event.start) == pytest.approx(4, abs=0.3)
    assert all(box.x >= 0.5 and 0.25 <= box.y <= 0.76 for box in event.boxes)


def test_variable_frame_rate_keeps_original_timestamps(clip_dir: Path) -> None:
    path = clips.variable_rate(clip_dir / "variable.mkv")
    fast = [Fraction(step, 10) for step in range(10)]
    slow = [Fraction(step, 2) for step in range(2, 8)]
    assert [frame.time for frame in frames(path, rate=30)] == fast + slow
    assert [frame.time for frame in frames(path, rate=5)] == fast[::2] + slow


def test_progress_increases_to_one(long_clip: Path) -> None:
    reported: list[float] = []
    look(long_clip, progress=reported.append)
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    assert 50 < len(reported) <= 101


def test_progress_is_reported_without_a_known_duration(long_clip: Path, clip_dir: Path) -> None:
    reported: list[float] = []
    look(clips.without_duration(long_clip, clip_dir / "unknown.mkv"), progress=reported.append)
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    assert len(reported) > 10


def test_audio_longer_than_video_is_not_truncation(clip_dir: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        path = clips.with_audio(clip_dir / f"song{suffix}", video_seconds=2, audio_seconds=8)
        found = look(path)
        assert found.probe.has_audio
        assert found.frames_decoded == 20


def test_long_last_frame_is_not_truncation(clip_dir: Path) -> None:
    found = look(clips.long_last_frame(clip_dir / "slides.mp4"))
    assert found.frames_decoded == found.probe.frames
    assert found.duration > 8


def test_invalid_files_are_rejected_with_a_reason(
    clip: Path, clip_dir: Path, tmp_path: Path
) -> None:
    text, empty, pipe = (tmp_path / name for name in ("text", "empty.mp4", "pipe.mp4"))
    text.write_text("not a video")
    empty.touch()
    os.mkfifo(pipe)
    no_index = tmp_path / "no_index.mp4"
    no_index.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    cases: list[tuple[Path, type[VideoError], str]] = [
        (text, UnreadableVideoError, "not a video in a known format"),
        (empty, UnreadableVideoError, "the file is empty"),
        (pipe, UnreadableVideoError, "FIFO or device"),
        (Path("/dev/zero"), UnreadableVideoError, "FIFO or device"),
        (tmp_path, UnreadableVideoError, "not a regular file but a directory"),
        (tmp_path / "absent.mp4", UnreadableVideoError, "No such file"),
        (no_index, UnreadableVideoError, "moov atom not found"),
        (clips.audio_only(clip_dir / "tone.mp4"), NoVideoStreamError, "stream, only audio"),
    ]
    for path, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            look(path)
        assert str(tmp_path) not in str(caught.value)
    assert children() == []


def test_truncated_file_has_results_and_a_warning(clip_dir: Path) -> None:
    found = look(clips.truncated(clip_dir / "cut.mp4", keep=0.4))
    assert len(found.events) == 1
    assert found.warning is not None
    assert "truncated" in found.warning
    assert found.duration < 6


def test_files_that_reference_other_files_are_rejected(clip: Path, tmp_path: Path) -> None:
    for name, text in {
        "list.mp4": f"ffconcat version 1.0\nfile {clip}\n",
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UnreadableVideoError, match="is not accepted; accepted are MP4"):
            look(path)


@pytest.mark.parametrize("seed", range(6))
def test_corrupt_data_does_not_crash_the_worker(seed: int, clip: Path, tmp_path: Path) -> None:
    content = np.frombuffer(clip.read_bytes(), np.uint8).copy()
    random = np.random.default_rng(seed)
    places = random.integers(len(content) // 20, len(content), 10 ** (1 + seed // 2))
    content[places] = random.integers(0, 255, len(places))
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content.tobytes())
    try:
        found = look(damaged)
    except VideoError as error:
        assert str(error)  # noqa: PT017 - success and this error are both fine; a crash is not
    else:
        assert found.frames_decoded > 0
    assert children() == []


def test_what_decoding_leaves_out_changes_neither_frames_nor_reports_of_damage(
    clip_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bunny = films.film("bigbuckbunny.mp4")
    intact = clips.reencoded(bunny, clip_dir / "intact.mp4", size="1280x720")
    content = bytearray(intact.read_bytes())
    for place in range(len(content) // 4, len(content), len(content) // 4):
        content[place : place + 300] = b"\x55" * 300
    damaged = clip_dir / "damaged.mp4"
    damaged.write_bytes(content)
    quick, report = frames(intact, rate=30), look(damaged)
    monkeypatch.setattr("app.video.decode._AVERAGED", 1000)
    full, complete = frames(intact, rate=30), look(damaged)
    assert [frame.time for frame in quick] == [frame.time for frame in full]
    pairs = zip(quick, full, strict=True)
    differences = [int(cv2.absdiff(one.image, other.image).max()) for one, other in pairs]
    assert 0 < max(differences) <= 4  # of 255; 0 if nothing were left out
    assert report.warning is not None
    assert (report.warning, report.log) == (complete.warning, complete.log)


@pytest.fixture(scope="module")
def large_frames(clip_dir: Path) -> Path:
    """Return a small file with three frames of the largest supported size."""
    path = clips.still_frames(clip_dir / "large.mkv", size="8192x4320")
    assert path.stat().st_size < 200_000
    return path


def test_oversized_frames_are_rejected(large_frames: Path) -> None:
    with pytest.raises(VideoTooBigError, match="8192x4320 exceeds the limit of 35389439 pixels"):
        look(large_frames, limits=Limits(pixels=8192 * 4320 - 1))


def test_frames_that_grow_midway_are_rejected(clip_dir: Path) -> None:
    path = clips.growing_frames(clip_dir / "growing.ts")
    with pytest.raises(VideoTooBigError, match="frame of 1920x1080 exceeds the limit"):
        look(path, limits=Limits(pixels=640 * 480, wall_time=60))


def test_memory_is_limited(large_frames: Path, clip_dir: Path) -> None:
    with pytest.raises(MemoryLimitError, match="exceeded the memory limit of 256 MiB"):
        look(large_frames, limits=Limits(memory=256 << 20, wall_time=60))
    with pytest.raises(MemoryLimitError, match="exceeded the memory limit of 1 MiB"):
        probe(large_frames, tools=clips.tools(), limits=Limits(memory=1 << 20))
    limits = Limits(memory=96 << 20, wall_time=60)
    facts = probe(large_frames, tools=clips.tools())
    with pytest.raises(MemoryLimitError, match="exceeded the memory limit of 96 MiB"):
        thumbnail(large_frames, tools=clips.tools(), time=Fraction(0), facts=facts, limits=limits)
    with pytest.raises(MemoryLimitError, match="exceeded the memory limit of 96 MiB"):
        cut_clip(large_frames, tools=clips.tools(), start=Fraction(0), end=Fraction(1),
                 target=clip_dir / "part.mp4", facts=facts, limits=limits)  # fmt: skip
    assert look(large_frames).frames_decoded == 3


def test_overlong_video_is_rejected(clip_dir: Path, tmp_path: Path) -> None:
    known = clips.pattern(clip_dir / "nine.mp4", seconds=9)
    with pytest.raises(VideoTooBigError, match="duration of 9 s exceeds the limit of 5 s"):
        look(known, limits=Limits(duration=Fraction(5)))
    unknown = clips.without_duration(known, tmp_path / "nine.mkv")
    assert probe(unknown, tools=clips.tools()).duration is None
    with pytest.raises(VideoTooBigError, match="the video exceeds the limit of 5 s"):
        look(unknown, limits=Limits(duration=Fraction(5)))
    assert look(unknown).frames_decoded == 225


def test_tiny_file_lasting_days_is_rejected(clip_dir: Path) -> None:
    path = clips.days(clip_dir / "days.mkv", days=3)
    assert path.stat().st_size < 100_000
    with pytest.raises(VideoTooBigError, match="limit of 86400 s"):
        look(path)


def test_ffprobe_timeout_is_a_time_limit_error(clip: Path) -> None:
    with pytest.raises(TimeLimitError, match=r"ffprobe timed out after 0\.001 s"):
        probe(clip, tools=clips.tools(), limits=Limits(wall_time=0.001))


def test_time_limit_is_enforced(long_clip: Path, slowly: dict[str, str]) -> None:
    reported: list[float] = []
    with pytest.raises(TimeLimitError, match=r"exceeded the limit of 0\.3 s"):
        look(
            long_clip,
            limits=Limits(wall_time=0.3),
            ffmpeg=slowly["FFMPEG"],
            progress=reported.append,
        )
    assert max(reported, default=0) < 0.9  # far from done: the whole takes four seconds
    assert children() == []


def test_endless_file_times_out(clip_dir: Path, tmp_path: Path, slowly: dict[str, str]) -> None:
    # Its ffmpeg reads far less than is added: it never finds the end, and costs little.
    piece = clips.pattern(clip_dir / "piece.ts", seconds=1).read_bytes()
    endless = tmp_path / "endless.ts"
    endless.write_bytes(piece)
    stop = threading.Event()

    def grow() -> None:
        with endless.open("ab") as file:
            while not stop.wait(0.002) and file.tell() < 1 << 30:
                file.write(piece)
                file.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises(TimeLimitError):
            look(endless, limits=Limits(wall_time=3), ffmpeg=slowly["FFMPEG"])
    finally:
        stop.set()
        thread.join()
    assert children() == []


def test_exception_from_the_checkpoint_aborts_the_analysis(heavy_clip: Path) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += children() == ["ffmpeg"]  # on a busy machine ffprobe takes seconds before
        if calls > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(heavy_clip, checkpoint=checkpoint)
    assert calls == 21
    assert children() == []


def test_checkpoint_is_called_even_while_no_frame_is_decoded(
    long_clip: Path, slowly: dict[str, str]
) -> None:
    called: list[float] = []

    def checkpoint() -> None:
        called.append(time.monotonic())

    rare = Parameters(frame_rate=Fraction(1, 10))  # one frame per 0.7 s of processing
    look(long_clip, parameters=rare, checkpoint=checkpoint, ffmpeg=slowly["FFMPEG"])
    gaps = [after - before for before, after in itertools.pairwise(called)]
    assert sorted(gaps)[len(gaps) // 2] < 0.4


_KILLED = """
import sys
from pathlib import Path
from app.video import Parameters, Tools, analyse
tools = Tools(ffmpeg=sys.argv[2], ffprobe=sys.argv[3])
def report(share):
    print(share, flush=True)
analyse(Path(sys.argv[1]), tools=tools, parameters=Parameters(), progress=report,
        checkpoint=lambda: None)
"""


def test_ffmpeg_does_not_outlive_a_killed_worker(heavy_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "orphan.mp4"
    path.symlink_to(heavy_clip)
    command = [
        sys.executable,
        "-c",
        _KILLED,
        str(path),
        clips.tools().ffmpeg,
        clips.tools().ffprobe,
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BACKEND), *sys.path])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline()
        assert running(str(path))
        worker.kill()
    eventually(lambda: not running(str(path)), timeout=20)


def running(word: str) -> list[str]:
    """Return the command lines of all processes that read the file `word`."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # exited in the meantime
            lines.append(path.read_text(errors="replace"))
    return [line for line in lines if f"file:{word}" in line]


def test_missing_program_is_a_tool_error(clip: Path) -> None:
    for tools in (
        Tools(ffmpeg="/nowhere/ffmpeg", ffprobe=clips.tools().ffprobe),
        Tools(ffmpeg=clips.tools().ffmpeg, ffprobe="/nowhere/ffprobe"),
    ):
        with pytest.raises(ToolError, match="cannot start /nowhere/"):
            analyse(clip, tools=tools, parameters=Parameters(), progress=ignore,
                    checkpoint=ignore)  # fmt: skip


def test_analysis_is_deterministic(clip_dir: Path) -> None:
    path = scenes.encode(scenes.SCENES[0], clip_dir / "same.mkv")
    assert look(path) == look(path)
