"""Thumbnails and clips of real videos, verified by decoding them again."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tests.support import clips

from app.video import (
    Box,
    Limits,
    NoVideoStreamError,
    Parameters,
    UnreadableVideoError,
    analyse,
    cut_clip,
    thumbnail,
)


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    assert data.startswith(b"\xff\xd8\xff")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def thumb(path: Path, time: Fraction | int, *, width: int = 320, box: Box | None = None) -> Any:
    return decode(thumbnail(path, tools=clips.tools(), time=Fraction(time), width=width, box=box))


def facts(path: Path) -> dict[str, Any]:
    finished = subprocess.run(
        [clips.tools().ffprobe, "-v", "error", "-show_format", "-show_streams",
         "-of", "json", path],
        capture_output=True, check=True,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


@pytest.fixture(scope="module")
def scene(clip_dir: Path) -> Path:
    """Return a grey clip in which a white square crosses from 3 s to 6 s."""
    return clips.still_then_moving(clip_dir / "thumb-scene.mp4")


def test_thumbnail_shows_the_frame_at_its_time(scene: Path) -> None:
    before, during = thumb(scene, 1), thumb(scene, Fraction(9, 2))
    assert before.shape == during.shape == (240, 320, 3)
    assert before.max() < 100
    white = np.argwhere(during[:, :, 1] > 200)
    # At 4.5 s the square of 60 pixels is at (150, 90).
    assert white.min(axis=0) == pytest.approx((90, 150), abs=4)
    assert white.max(axis=0) == pytest.approx((150, 210), abs=4)


def test_time_out_of_range_gives_the_first_or_last_frame(scene: Path) -> None:
    for time in (-5, 9, 100):
        assert thumb(scene, time).shape == (240, 320, 3)


def test_box_is_drawn_around_the_motion(scene: Path) -> None:
    box = Box(Fraction(1), 0.25, 0.25, 0.5, 0.5)
    framed = thumb(scene, 1, box=box).astype(int)
    red = np.argwhere(framed[:, :, 2] - framed[:, :, 1] > 80)
    assert red.min(axis=0) == pytest.approx((60, 80), abs=4)
    assert red.max(axis=0) == pytest.approx((180, 240), abs=4)


def test_thumbnails_are_upright_and_have_square_pixels(clip: Path, clip_dir: Path) -> None:
    turned = clips.rotated(clip, clip_dir / "turned-thumb.mp4", degrees=90)
    assert thumb(turned, 1, width=120).shape == (160, 120, 3)
    wide = clips.with_display_aspect(clip_dir / "wide.mp4", aspect="16:9")
    assert thumb(wide, 0, width=160).shape == (90, 160, 3)


def test_aborted_clip_leaves_no_files(heavy_clip: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    seen: list[int] = []

    def checkpoint() -> None:
        seen.extend(part.stat().st_size for part in tmp_path.iterdir())
        if seen:  # the clip is being written
            raise StoppedError

    with pytest.raises(StoppedError):
        cut_clip(heavy_clip, tools=clips.tools(), start=Fraction(0), end=Fraction(60),
                 target=tmp_path / "clip.mp4", checkpoint=checkpoint)  # fmt: skip
    assert seen
    assert list(tmp_path.iterdir()) == []


def test_invalid_video_has_no_thumbnail(clip: Path, clip_dir: Path, tmp_path: Path) -> None:
    script = tmp_path / "list.mp4"
    script.write_text(f"ffconcat version 1.0\nfile {clip}\n")
    with pytest.raises(UnreadableVideoError):
        thumb(script, 0)
    with pytest.raises(NoVideoStreamError):
        thumb(clips.audio_only(clip_dir / "thumb-tone.mp4"), 0)
    with pytest.raises(ValueError, match="16 to 1920"):
        thumb(clip, 0, width=5000)


def test_clip_is_in_a_format_that_browsers_play(clip_dir: Path, tmp_path: Path) -> None:
    source = clips.with_audio(clip_dir / "loud.mkv", video_seconds=6, audio_seconds=6)
    target = tmp_path / "clip.mp4"
    cut_clip(source, tools=clips.tools(), start=Fraction(2), end=Fraction(9, 2), target=target)
    document = facts(target)
    streams = {stream["codec_type"]: stream for stream in document["streams"]}
    assert streams["video"]["codec_name"] == "h264"
    assert streams["video"]["pix_fmt"] == "yuv420p"
    assert streams["audio"]["codec_name"] == "aac"
    assert float(document["format"]["duration"]) == pytest.approx(2.5, abs=0.15)
    content = target.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_clip_covers_the_requested_part(scene: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    cut_clip(scene, tools=clips.tools(), start=Fraction(2), end=Fraction(7), target=target)
    found = analyse(target, tools=clips.tools(), parameters=Parameters(), limits=Limits(),
                    progress=lambda _share: None, checkpoint=lambda: None)  # fmt: skip
    (event,) = found.events
    assert (float(event.start), float(event.end)) == pytest.approx((1, 4), abs=0.3)


def test_clip_of_a_rotated_video_is_upright(clip: Path, clip_dir: Path, tmp_path: Path) -> None:
    turned = clips.rotated(clip, clip_dir / "turned-clip.mp4", degrees=270)
    target = tmp_path / "clip.mp4"
    cut_clip(turned, tools=clips.tools(), start=Fraction(0), end=Fraction(1), target=target)
    video = facts(target)["streams"][0]
    assert (video["width"], video["height"]) == (240, 320)
    assert "side_data_list" not in video


def test_failed_clip_leaves_no_files(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    script = tmp_path / "list.mp4"
    script.write_text(f"ffconcat version 1.0\nfile {clip}\n")
    for source, start in ((script, 0), (clip, 50)):
        with pytest.raises(UnreadableVideoError):
            cut_clip(source, tools=clips.tools(), start=Fraction(start), end=Fraction(start + 1),
                     target=target)  # fmt: skip
    with pytest.raises(ValueError, match="start < end"):
        cut_clip(clip, tools=clips.tools(), start=Fraction(1), end=Fraction(1), target=target)
    assert [path.name for path in tmp_path.iterdir()] == ["list.mp4"]
