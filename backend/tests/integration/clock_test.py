"""One clock per file: analysis, thumbnails, clips and previews agree on when something happens.

The same film in many containers: a block crosses a still scene from 2 to 4 s and from 6 to 8 s, and
its place tells the time.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tests.support import clips

from app.services import facts as stored_facts
from app.video import (
    Analysis,
    Limits,
    Parameters,
    Probe,
    analyse,
    convert,
    cut_clip,
    probe,
    thumbnail,
)
from app.video.clock import MAX_STRETCHES

_KEY_FRAMES = ("-c:v", "libx264", "-preset", "ultrafast", "-sc_threshold", "0")


def look(path: Path, *, facts: Probe | None = None, pictures: bool = False) -> Analysis:
    kept: list[tuple[int | None, int, bytes]] = []
    found = analyse(
        path,
        tools=clips.tools(),
        parameters=Parameters(),
        progress=lambda _share: None,
        checkpoint=lambda: None,
        facts=facts,
        pictures=(lambda *picture: kept.append(picture)) if pictures else None,
    )
    for position, _, jpeg in kept:
        if position is not None:
            event = found.events[position]
            assert clips.block_time(decode(jpeg)) == pytest.approx(
                float(event.peak_time) - clips.CROSSINGS[position][0] - delay(path), abs=0.06
            )
    return found


def delay(path: Path) -> float:
    """Return by how much the picture of a film starts later than its sound."""
    return 1.0 if path.name.startswith("picture later") else 0.0


def decode(jpeg: bytes) -> npt.NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


@pytest.fixture(scope="module")
def film(clip_dir: Path) -> Path:
    return clips.crossing(clip_dir / "crossing-base.mp4")


@pytest.fixture(scope="module")
def half(film: Path, clip_dir: Path) -> Callable[..., Path]:
    """Return a function that makes an MPEG-TS of five seconds, whose timestamps may be shifted."""

    def make(number: int, *, shift: float = 0) -> Path:
        target = clip_dir / f"half{number}-{shift}.ts"
        if target.exists():
            return target
        part = ("-ss", str(5 * number), "-t", "5", "-output_ts_offset", str(shift))
        return clips.converted(film, target, *part, *_KEY_FRAMES, "-g", "25")

    return make


def build(name: str, film: Path, half: Callable[..., Path]) -> Path:
    """Make the film in one of the forms that `test_…_agree` lists, unless it has been made."""
    target = film.parent / name
    return target if target.exists() else _build(target, film, half)


def _build(target: Path, film: Path, half: Callable[..., Path]) -> Path:
    options: tuple[str, ...]
    match target.name:
        case "long groups.ts":
            options = (*_KEY_FRAMES, "-g", "250", "-keyint_min", "250")
        case "mpeg-2.mpg" | "mpeg-2.ts":
            options = ("-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-q:v", "3")
        case "x.avi":  # it has no place for the timestamps of B-frames
            options = (*_KEY_FRAMES, "-g", "50", "-bf", "0")
        case "raw.h264" | "x.mkv" | "x.flv":
            options = (*_KEY_FRAMES, "-g", "50", "-bf", "2")
        case "raw.mjpeg":
            options = ("-c:v", "mjpeg", "-q:v", "3")
        case "joined.ts":
            return clips.joined(target, half(0), half(1))
        case "hours later.ts":
            return clips.joined(target, half(0), half(1, shift=3600))
        case "overlapping.ts":
            return clips.joined(target, half(0), half(1, shift=3))
        case "picture later than sound.ts":
            part = clips.converted(film, target.with_name("part.ts"), *_KEY_FRAMES, "-g", "100")
            return clips.with_tone(part, target, seconds=11, options=("-itsoffset", "1"))
        case _:
            raise AssertionError(target.name)
    return clips.converted(film, target, *options)


@pytest.mark.parametrize(
    "name",
    [
        "long groups.ts",
        "mpeg-2.mpg",
        "mpeg-2.ts",
        "raw.h264",
        "raw.mjpeg",
        "x.mkv",
        "x.flv",
        "x.avi",
        "joined.ts",
        "hours later.ts",
        "overlapping.ts",
        "picture later than sound.ts",
    ],
)
def test_events_thumbnails_and_clips_agree(
    name: str, film: Path, half: Callable[..., Path], tmp_path: Path
) -> None:
    path = build(name, film, half)
    late = delay(path)
    facts = probe(path, tools=clips.tools())
    assert stored_facts.from_json(stored_facts.to_json(facts)) == facts
    assert facts.duration is not None
    assert float(facts.duration) == pytest.approx(10 + late, abs=0.1)
    for time in (3.0, 6.6, 7.52):
        jpeg = thumbnail(path, tools=clips.tools(), time=Fraction(str(time + late)), facts=facts)
        begin = clips.CROSSINGS[time > 5][0]
        assert clips.block_time(decode(jpeg)) == pytest.approx(time - begin, abs=0.06), time
    for time in (1.0, 5.5, 9.96, 100.0):
        jpeg = thumbnail(path, tools=clips.tools(), time=Fraction(str(time)), facts=facts)
        assert clips.block_time(decode(jpeg)) is None, time
    found = look(path, facts=facts, pictures=True)
    expected = [(begin + late, end + late) for begin, end in clips.CROSSINGS]
    assert [float(event.start) for event in found.events] == pytest.approx(
        [begin for begin, _ in expected], abs=0.2
    )
    assert [float(event.end) for event in found.events] == pytest.approx(
        [end for _, end in expected], abs=0.2
    )
    assert found.warning is None
    assert float(found.duration) == pytest.approx(10 + late, abs=0.1)
    # Across the places where timestamps jump.
    target = tmp_path / "clip.mp4"
    start, end = Fraction(3, 2), Fraction(17, 2)
    cut_clip(path, tools=clips.tools(), start=start, end=end, target=target, facts=facts)
    again = look(target)
    assert [float(event.start + start) for event in again.events] == pytest.approx(
        [float(event.start) for event in found.events], abs=0.2
    )


@pytest.mark.parametrize("name", ["hours later.ts", "picture later than sound.ts", "raw.h264"])
def test_preview_has_the_clock_of_the_original(
    name: str, film: Path, half: Callable[..., Path], tmp_path: Path
) -> None:
    path = build(name, film, half)
    facts = probe(path, tools=clips.tools())
    assert not facts.playable
    target = tmp_path / "preview.mp4"
    convert(path, tools=clips.tools(), target=target, facts=facts)
    preview = probe(target, tools=clips.tools())
    assert preview.playable
    time = Fraction(3) + Fraction(delay(path))
    jpeg = thumbnail(target, tools=clips.tools(), time=time, facts=preview)
    assert clips.block_time(decode(jpeg)) == pytest.approx(1, abs=0.06)


def test_thumbnail_after_the_last_frame_needs_little_memory(film: Path, clip_dir: Path) -> None:
    large = clips.converted(
        film, clip_dir / "large.mkv", "-vf", "scale=1280:720", *_KEY_FRAMES, "-g", "300"
    )
    for suffix in (".mkv", ".ts", ".flv"):
        path = clips.with_tone(large, clip_dir / f"long-sound{suffix}", seconds=40)
        # All 250 frames would need 330 MiB.
        limits = Limits(memory=160 << 20, wall_time=60)
        jpeg = thumbnail(path, tools=clips.tools(), time=Fraction(30), limits=limits)
        assert decode(jpeg).shape == (180, 320, 3)


def test_frame_of_a_time_lapse_is_the_one_shown_at_the_time(film: Path, clip_dir: Path) -> None:
    lapse = clips.converted(
        film, clip_dir / "lapse.mp4", "-vf", "select='eq(n,0)+not(mod(n-15,40))'",
        "-fps_mode", "vfr", "-c:v", "libx264",
    )  # fmt: skip
    # Frames at 0, 0.6, 2.2, 3.8, 5.4, 7.0 and 8.6 s.
    jpeg = thumbnail(lapse, tools=clips.tools(), time=Fraction(18, 5))
    assert clips.block_time(decode(jpeg)) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("parts", [60, 150])
def test_clock_may_restart_often(clip_dir: Path, tmp_path: Path, parts: int) -> None:
    second = clips.pattern(clip_dir / "second.ts", seconds=1, size="160x120")
    often = clips.joined(tmp_path / "often.ts", *[second] * parts)
    found = look(often)
    assert float(found.duration) == pytest.approx(min(parts, MAX_STRETCHES), abs=0.1)
    assert float(found.events[-1].end) == pytest.approx(min(parts, MAX_STRETCHES), abs=0.5)
