"""The video library on real clips with known content."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.support import clips, programs

from app.video.analyse import Report, analyse
from app.video.errors import (
    NoVideoStreamError,
    TimeLimitError,
    ToolError,
    UnreadableVideoError,
    VideoError,
)
from app.video.probe import probe
from app.video.source import FrameSource, GreyImage


def look(path: Path, *, time_limit: float = 60) -> Report:
    ffprobe = programs.find("ffprobe", variable="FFPROBE")
    return analyse(path, ffprobe=ffprobe, time_limit=time_limit, checkpoint=lambda: None)


def test_motion_is_found_when_it_happens_and_only_then(clip_dir: Path) -> None:
    report = look(clips.still_then_moving(clip_dir / "scene.mp4"))
    scores = {item.second: item.score for item in report.motion.seconds}
    assert sorted(scores) == list(range(9))
    for second in (0, 1, 2, 7, 8):
        assert scores[second] < 0.001, scores
    for second in (3, 4, 5):
        assert scores[second] > 0.02, scores


@pytest.mark.parametrize(("colour", "expected"), [("black", 0), ("gray", 128), ("white", 255)])
def test_brightness_is_that_of_the_picture(colour: str, expected: int, clip_dir: Path) -> None:
    report = look(clips.brightness(clip_dir / f"one-{colour}.mp4", colour=colour))
    assert report.motion.mean_brightness == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov", ".flv"])
def test_every_common_container_is_read(suffix: str, clip_dir: Path) -> None:
    report = look(clips.pattern(clip_dir / f"container{suffix}", seconds=1))
    assert (report.probe.codec, report.frames_decoded) == ("h264", 25)


def test_an_odd_frame_rate_stays_exact(clip_dir: Path) -> None:
    report = look(clips.pattern(clip_dir / "ntsc.mp4", rate="30000/1001"))
    assert report.probe.frame_rate == Fraction(30000, 1001)


def first_frame(path: Path, *, width: int) -> GreyImage:
    facts = probe(path, tools=clips.tools())
    source = FrameSource(
        path, probe=facts, sample_rate=Fraction(1), width=width, checkpoint=lambda: None
    )
    return next(iter(source)).image


def test_rotation_is_reported_and_frames_come_upright(clip: Path, clip_dir: Path) -> None:
    turned = clips.rotated(clip, clip_dir / "turned.mp4", degrees=90)
    facts = probe(turned, tools=clips.tools())
    assert (facts.width, facts.height, facts.rotation) == (320, 240, 90)
    straight, upright = first_frame(clip, width=320), first_frame(turned, width=240)
    assert upright.shape == (320, 240)
    assert np.array_equal(upright, np.rot90(straight, k=-1))


def test_times_are_the_files_own_when_the_rate_varies(clip_dir: Path) -> None:
    path = clips.variable_rate(clip_dir / "variable.mkv")
    facts = probe(path, tools=clips.tools())
    source = FrameSource(
        path, probe=facts, sample_rate=Fraction(100), width=32, checkpoint=lambda: None
    )
    times = [frame.time for frame in source]
    fast = [Fraction(step, 10) for step in range(10)]
    slow = [Fraction(step, 2) for step in range(2, 8)]
    assert times == fast + slow


def test_sound_that_outlasts_the_picture_is_no_truncation(clip_dir: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        path = clips.with_sound(clip_dir / f"song{suffix}", picture=2, sound_seconds=8)
        report = look(path)
        assert report.probe.has_audio
        assert report.frames_decoded == 20


def test_what_is_broken_is_said(clip_dir: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    cases: list[tuple[Path, type[VideoError], str]] = [
        (text, UnreadableVideoError, "cannot read the file as a video"),
        (tmp_path / "absent.mp4", UnreadableVideoError, "No such file"),
        (clips.sound(clip_dir / "tone.mp4"), NoVideoStreamError, "it holds audio"),
        (clips.truncated(clip_dir / "cut.mp4", keep=0.4), UnreadableVideoError, "truncated"),
    ]
    for path, error, message in cases:
        with pytest.raises(error, match=message):
            look(path)


def test_frames_full_of_garbage_do_not_end_the_worker(clip: Path, tmp_path: Path) -> None:
    content = bytearray(clip.read_bytes())
    start = content.find(b"mdat") + 64
    for position in range(start, min(start + 20_000, len(content) - 4000), 3):
        content[position] ^= 0x5A
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    try:
        report = look(damaged)
    except VideoError as error:
        assert str(error)  # noqa: PT017  (either end is fine; a crash is not)
    else:
        assert report.frames_decoded > 0


def test_a_limit_of_time_is_kept(long_clip: Path) -> None:
    with pytest.raises(TimeLimitError, match=r"longer than the 0\.3 s allowed"):
        look(long_clip, time_limit=0.3)


def test_what_the_checkpoint_raises_stops_the_analysis(long_clip: Path) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise KeyboardInterrupt

    ffprobe = programs.find("ffprobe", variable="FFPROBE")
    with pytest.raises(KeyboardInterrupt):
        analyse(long_clip, ffprobe=ffprobe, time_limit=60, checkpoint=checkpoint)
    assert calls == 21


def test_a_missing_ffprobe_is_not_the_videos_fault(clip: Path) -> None:
    with pytest.raises(ToolError, match="could not be started"):
        analyse(clip, ffprobe="/nowhere/ffprobe", time_limit=9, checkpoint=lambda: None)
