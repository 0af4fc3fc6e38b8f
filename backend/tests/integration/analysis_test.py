"""The video library on real files: what is read, what is refused, and what is left behind."""

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
from tests.support import clips, scenes
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
    probe,
    thumbnail,
)
from app.video.decode import Frame, FrameSource

DEFAULT = Limits(wall_time=60)


def nothing(*_: object) -> None:
    """Be told and do nothing."""


def look(
    path: Path,
    *,
    parameters: Parameters | None = None,
    limits: Limits = DEFAULT,
    progress: Callable[[float], None] = nothing,
    checkpoint: Callable[[], None] = nothing,
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
        limits=DEFAULT, check=nothing,
    ) as source:  # fmt: skip
        return list(source)


def children() -> list[str]:
    """Return which of ffmpeg and ffprobe this process has started and not yet ended."""
    names = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            # proc(5): number, name in parentheses, state, parent.
            head, _, rest = path.read_text(errors="replace").rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                names.append(head.partition("(")[2])
    # Servers of other tests may be among them.
    return [name for name in names if name in {"ffmpeg", "ffprobe"}]


def test_motion_is_found_when_and_where_it_happens(clip_dir: Path) -> None:
    found = look(clips.still_then_moving(clip_dir / "scene.mp4"))
    (event,) = found.events
    assert float(event.start) == pytest.approx(3, abs=0.25)
    assert float(event.end) == pytest.approx(6, abs=0.25)
    for box in event.boxes:
        # The square is 60 of 320 by 240 pixels large and moves 100 pixels per second at 90.
        assert box.y == pytest.approx(90 / 240, abs=0.06)
        assert box.x == pytest.approx((float(box.time) - 3) * 100 / 320, abs=0.08)
        assert box.height == pytest.approx(60 / 240, abs=0.1)
    assert (found.frames_decoded, found.frames_analysed) == (90, 45)
    assert found.duration == 9
    moving = [index * found.timeline.bucket for index, s in enumerate(found.timeline.scores) if s]
    assert min(moving) == 3
    assert max(moving) == 6  # it is still there at 6.0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov", ".flv"])
def test_every_common_container_is_read(suffix: str, clip_dir: Path) -> None:
    found = look(clips.pattern(clip_dir / f"container{suffix}", seconds=1))
    assert (found.probe.codec, found.frames_decoded) == ("h264", 25)
    assert len(found.events) == 1


def test_an_odd_frame_rate_stays_exact(clip_dir: Path) -> None:
    path = clips.pattern(clip_dir / "ntsc.mp4", rate="30000/1001")
    assert probe(path, tools=clips.tools()).frame_rate == Fraction(30000, 1001)
    times = [frame.time for frame in frames(path, rate=30)]
    assert times[:3] == [0, Fraction(1001, 30000), Fraction(1001, 15000)]


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_turned_pictures_come_upright(degrees: int, turns: int, clip: Path, clip_dir: Path) -> None:
    turned = clips.rotated(clip, clip_dir / f"turned{degrees}.mp4", degrees=degrees)
    facts = probe(turned, tools=clips.tools())
    assert (facts.width, facts.height, facts.rotation) == (320, 240, degrees)
    straight, upright = frames(clip, rate=1)[0].image, frames(turned, rate=1)[0].image
    assert np.array_equal(upright, np.rot90(straight, k=turns))


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((-1, 0, 0, 1), 0), ((0, -1, -1, 0), -1), ((1, 0, 0, -1), 2), ((0, 1, 1, 0), 1)],
)
def test_mirrored_pictures_come_as_they_are_shown(
    matrix: tuple[int, int, int, int], turns: int, clip: Path, tmp_path: Path
) -> None:
    mirrored = clips.shown_by(clip, tmp_path / "mirrored.mp4", matrix=matrix)
    straight, upright = frames(clip, rate=1)[0].image, frames(mirrored, rate=1)[0].image
    assert np.array_equal(upright, np.rot90(np.fliplr(straight), k=turns))
    # ffmpeg's own idea of it, which is what thumbnails show.
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


def test_motion_in_a_mirrored_video_is_found_on_the_side_where_it_is_seen(
    clip_dir: Path, tmp_path: Path
) -> None:
    path = clips.still_then_moving(clip_dir / "scene-mirror.mp4")  # from left to right
    mirrored = clips.shown_by(path, tmp_path / "mirrored.mp4", matrix=(-1, 0, 0, 1))
    (event,) = look(mirrored).events
    assert event.boxes[0].x > 0.5 > event.boxes[-1].x
    right = Parameters(region=Region(0.75, 0.25, 0.25, 0.5))
    (event,) = look(mirrored, parameters=right).events
    assert float(event.start) == pytest.approx(3, abs=0.4)


def test_a_region_is_the_same_part_of_the_upright_picture(clip: Path, clip_dir: Path) -> None:
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


def test_motion_outside_the_region_is_not_looked_at(clip_dir: Path) -> None:
    path = clips.still_then_moving(clip_dir / "scene-region.mp4")
    assert not look(path, parameters=Parameters(region=Region(0, 0.75, 1, 0.25))).events
    (event,) = look(path, parameters=Parameters(region=Region(0.5, 0.25, 0.5, 0.5))).events
    assert float(event.start) == pytest.approx(4, abs=0.3)
    assert all(box.x >= 0.5 and 0.25 <= box.y <= 0.76 for box in event.boxes)


def test_times_are_the_files_own_when_the_rate_varies(clip_dir: Path) -> None:
    path = clips.variable_rate(clip_dir / "variable.mkv")
    fast = [Fraction(step, 10) for step in range(10)]
    slow = [Fraction(step, 2) for step in range(2, 8)]
    assert [frame.time for frame in frames(path, rate=30)] == fast + slow
    assert [frame.time for frame in frames(path, rate=5)] == fast[::2] + slow


def test_progress_rises_to_the_end(long_clip: Path) -> None:
    told: list[float] = []
    look(long_clip, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert 50 < len(told) <= 101


def test_progress_is_told_even_when_nobody_knows_how_long_it_takes(
    long_clip: Path, clip_dir: Path
) -> None:
    told: list[float] = []
    look(clips.without_duration(long_clip, clip_dir / "unknown.mkv"), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 10


def test_sound_that_outlasts_the_picture_is_no_truncation(clip_dir: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        found = look(clips.with_sound(clip_dir / f"song{suffix}", picture=2, sound_seconds=8))
        assert found.probe.has_audio
        assert found.frames_decoded == 20


def test_a_last_picture_that_stays_long_is_no_truncation(clip_dir: Path) -> None:
    found = look(clips.long_last_picture(clip_dir / "slides.mp4"))
    assert found.frames_decoded == found.probe.frames
    assert found.duration > 8


def test_what_is_broken_is_said(clip: Path, clip_dir: Path, tmp_path: Path) -> None:
    text, empty, pipe = (tmp_path / name for name in ("text.mp4", "empty.mp4", "pipe.mp4"))
    text.write_text("not a video")
    empty.touch()
    os.mkfifo(pipe)
    no_index = tmp_path / "no_index.mp4"
    no_index.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    cases: list[tuple[Path, type[VideoError], str]] = [
        (text, UnreadableVideoError, "cannot read the file as a video"),
        (empty, UnreadableVideoError, "the file is empty"),
        (pipe, UnreadableVideoError, "pipe or device"),
        (Path("/dev/zero"), UnreadableVideoError, "pipe or device"),
        (tmp_path, UnreadableVideoError, "a directory"),
        (tmp_path / "absent.mp4", UnreadableVideoError, "No such file"),
        (no_index, UnreadableVideoError, "moov atom not found"),
        (clips.sound(clip_dir / "tone.mp4"), NoVideoStreamError, "it holds audio"),
        (clips.truncated(clip_dir / "cut.mp4", keep=0.4), UnreadableVideoError, "truncated"),
    ]
    for path, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            look(path)
        assert str(tmp_path) not in str(caught.value)
    assert children() == []


def test_files_that_lead_to_other_files_are_not_opened(clip: Path, tmp_path: Path) -> None:
    for name, text in {
        "list.mp4": f"ffconcat version 1.0\nfile {clip}\n",
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UnreadableVideoError, match="cannot read the file"):
            look(path)


@pytest.mark.parametrize("seed", range(6))
def test_garbage_does_not_end_the_worker(seed: int, clip: Path, tmp_path: Path) -> None:
    content = np.frombuffer(clip.read_bytes(), np.uint8).copy()
    random = np.random.default_rng(seed)
    places = random.integers(len(content) // 20, len(content), 10 ** (1 + seed // 2))
    content[places] = random.integers(0, 255, len(places))
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content.tobytes())
    try:
        found = look(damaged)
    except VideoError as error:
        assert str(error)  # noqa: PT017 - either end is fine; a crash is not
    else:
        assert found.frames_decoded > 0
    assert children() == []


@pytest.fixture(scope="module")
def large_pictures(clip_dir: Path) -> Path:
    """Return a small file with three of the largest pictures that are looked at."""
    path = clips.still_picture(clip_dir / "large.mkv", size="8192x4320")
    assert path.stat().st_size < 200_000
    return path


def test_huge_pictures_are_refused(large_pictures: Path) -> None:
    with pytest.raises(VideoTooBigError, match=r"8192x4320, over the limit of 35389439 pixels"):
        look(large_pictures, limits=Limits(pixels=8192 * 4320 - 1))


def test_a_picture_that_grows_on_the_way_is_refused(clip_dir: Path) -> None:
    path = clips.growing_picture(clip_dir / "growing.ts")
    with pytest.raises(VideoTooBigError, match="1920x1080"):
        look(path, limits=Limits(pixels=640 * 480, wall_time=60))


def test_memory_is_bounded(large_pictures: Path) -> None:
    with pytest.raises(MemoryLimitError, match="more memory than the 256 MiB allowed"):
        look(large_pictures, limits=Limits(memory=256 << 20, wall_time=60))
    with pytest.raises(MemoryLimitError, match="more memory than the 1 MiB allowed"):
        probe(large_pictures, tools=clips.tools(), limits=Limits(memory=1 << 20))
    assert look(large_pictures).frames_decoded == 3


def test_a_clip_longer_than_allowed_is_refused(clip_dir: Path, tmp_path: Path) -> None:
    known = clips.pattern(clip_dir / "nine.mp4", seconds=9)
    with pytest.raises(VideoTooBigError, match=r"announces 9 s .* limit of 5 s"):
        look(known, limits=Limits(duration=Fraction(5)))
    unknown = clips.without_duration(known, tmp_path / "nine.mkv")
    assert probe(unknown, tools=clips.tools()).duration is None
    with pytest.raises(VideoTooBigError, match="goes on after 5 s"):
        look(unknown, limits=Limits(duration=Fraction(5)))
    assert look(unknown).frames_decoded == 225


def test_a_tiny_file_with_days_in_it_is_refused(clip_dir: Path) -> None:
    path = clips.days(clip_dir / "days.mkv", days=3)
    assert path.stat().st_size < 100_000
    with pytest.raises(VideoTooBigError, match="limit of 86400 s"):
        look(path)


def test_a_file_that_ffprobe_cannot_get_through_in_time_is_the_files_fault(clip: Path) -> None:
    with pytest.raises(TimeLimitError, match=r"ffprobe did not get through it in 0\.001 s"):
        probe(clip, tools=clips.tools(), limits=Limits(wall_time=0.001))


def test_a_limit_of_time_is_kept(long_clip: Path, slowly: dict[str, str]) -> None:
    told: list[float] = []
    with pytest.raises(TimeLimitError, match=r"longer than the 0\.3 s allowed"):
        look(
            long_clip,
            limits=Limits(wall_time=0.3),
            ffmpeg=slowly["FFMPEG"],
            progress=told.append,
        )
    assert max(told, default=0) < 0.9  # what a second of four has brought, and no more
    assert children() == []


def test_a_file_that_never_ends_is_given_up(clip_dir: Path, tmp_path: Path) -> None:
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
            look(endless, limits=Limits(wall_time=3))
    finally:
        stop.set()
        thread.join()
    assert children() == []


def test_what_the_checkpoint_raises_stops_the_analysis(long_clip: Path) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            assert children() == ["ffmpeg"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(long_clip, checkpoint=checkpoint)
    assert calls == 21
    assert children() == []


def test_the_checkpoint_is_asked_even_when_nothing_is_decoded(
    long_clip: Path, slowly: dict[str, str]
) -> None:
    asked: list[float] = []

    def checkpoint() -> None:
        asked.append(time.monotonic())

    rare = Parameters(frame_rate=Fraction(1, 10))  # one picture in each 0.7 s of work
    look(long_clip, parameters=rare, checkpoint=checkpoint, ffmpeg=slowly["FFMPEG"])
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert sorted(gaps)[len(gaps) // 2] < 0.4


_KILLED = """
import sys
from pathlib import Path
from app.video import Parameters, Tools, analyse
tools = Tools(ffmpeg=sys.argv[2], ffprobe=sys.argv[3])
def told(share):
    print(share, flush=True)
analyse(Path(sys.argv[1]), tools=tools, parameters=Parameters(), progress=told,
        checkpoint=lambda: None)
"""


def test_ffmpeg_does_not_outlive_a_worker_that_is_killed(long_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "orphan.mp4"
    path.symlink_to(long_clip)
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
    """Return the command lines of all programs that name `word`."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended meanwhile
            lines.append(path.read_text(errors="replace"))
    return [line for line in lines if f"file:{word}" in line]


def test_missing_programs_are_not_the_videos_fault(clip: Path) -> None:
    for tools in (
        Tools(ffmpeg="/nowhere/ffmpeg", ffprobe=clips.tools().ffprobe),
        Tools(ffmpeg=clips.tools().ffmpeg, ffprobe="/nowhere/ffprobe"),
    ):
        with pytest.raises(ToolError, match="could not be started"):
            analyse(clip, tools=tools, parameters=Parameters(), progress=nothing,
                    checkpoint=nothing)  # fmt: skip


def test_the_same_video_gives_the_same_answer(clip_dir: Path) -> None:
    path = scenes.film(scenes.SCENES[0], clip_dir / "same.mkv")
    assert look(path) == look(path)
