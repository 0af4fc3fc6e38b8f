"""Extract a thumbnail or a clip from a video, or convert it for browsers.

ffmpeg re-encodes them upright, with square pixels and the brightness of ordinary displays, in
formats that every browser supports.
"""

import os
import tempfile
import time as clock
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from app.video.complaints import readable
from app.video.errors import NoVideoStreamError, UnreadableVideoError, VideoError
from app.video.findings import Box
from app.video.inputs import open_input, tone_mapping
from app.video.options import DEFAULT_LIMITS, Limits, Tools, no_checkpoint
from app.video.probe import Probe, probe
from app.video.process import OUT_OF_MEMORY, memory_limit_error, run, stream
from app.video.work import Work

THUMBNAIL_TIMEOUT_S = 30.0
MAX_WIDTH = 1920
# Clips give way to pictures and analyses.
_CLIP_NICENESS = 10
# Where to look for the last frame if there is none at the end: so many seconds before it.
_STEPS_BACK = (1, 8, 64, 512, 4096)
_RECENT, _ROUNDING = Fraction(1), Fraction(1, 2000)
_JPEG_START = b"\xff\xd8\xff"
CLIP_SIZE, PREVIEW_SIZE = 1280, 854
_ENCODING = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-fps_mode", "vfr",
             "-c:a", "aac", "-b:a", "128k", "-ac", "2")  # fmt: skip
_NO_METADATA = ("-map_metadata", "-1", "-map_chapters", "-1")
_MP4 = ("-movflags", "+faststart", "-f", "mp4", "-y")


def thumbnail(
    path: Path,
    *,
    tools: Tools,
    time: Fraction,
    width: int = 320,
    box: Box | None = None,
    facts: Probe | None = None,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> bytes:
    """Return the frame shown at `time` (seconds) as a JPEG `width` wide, with `box` outlined.

    A time after the end gives the last frame. `facts` saves a call of `probe`. See `analyse` for
    `checkpoint`. Raise a VideoError if there is no such frame, or finding it exceeds `limits.work`.
    """
    if not 16 <= width <= MAX_WIDTH:
        raise ValueError(f"width must be 16 to {MAX_WIDTH} pixels, not {width}")
    facts = facts or probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
    deadline = clock.monotonic() + min(THUMBNAIL_TIMEOUT_S, limits.wall_time)
    begin = max(Fraction(0), time)
    if facts.duration is not None:
        begin = min(begin, facts.duration)

    # Filters compare in ticks, rounded.
    tick = facts.map.tick if facts.map is not None else facts.time_base
    rounding = max(_ROUNDING, tick * Fraction(51, 100))
    work = Work(facts, limits=limits)
    for seek, begin_at, end_at in _attempts(begin, rounding=rounding):
        source = open_input(
            path, facts=facts, tools=tools, limits=limits, seek=seek, options=work.options
        )
        part = f"trim=start={float(begin_at):.6f}" + (
            "" if end_at is None else f":end={float(end_at):.6f}"
        )
        filters = ",".join(
            [*work.filters(), source.video_filter, part, *_picture(facts, width, box)]
        )
        chunks = stream(
            [*source.arguments, "-filter_threads", "1", "-map", f"0:{facts.index}",
             "-vf", filters, *_NO_METADATA,
             "-c:v", "mjpeg", "-threads", "1", "-q:v", "4", "-pix_fmt", "yuvj420p",
             "-flags", "+bitexact", "-fps_mode", "passthrough", "-f", "image2pipe",
             *(() if end_at is not None else ("-frames:v", "1")), "pipe:1"],
            timeout=max(0.1, deadline - clock.monotonic()), limits=limits, checkpoint=checkpoint,
            log=work.read,
            read=(path,),
        )  # fmt: skip
        picture = _last_picture(chunks)
        log = work.log
        exhausted = work.add()
        if picture and not exhausted:
            return picture
        if exhausted:
            raise work.error(f"the frame at {float(time):.1f} s")
    message = f"no frame can be extracted at {float(time):.1f} s"
    raise _failure(message, log, path=path, limits=limits)


def _attempts(
    time: Fraction, *, rounding: Fraction
) -> Iterator[tuple[Fraction, Fraction, Fraction | None]]:
    """Yield where to seek, and between which times the last frame is wanted (None: the first).

    The frame shown at `time` is the last one that is not later. Usually it is less than a second
    old; in a time lapse, and after the end, it is older.
    """
    end = time + rounding
    yield time, time - _RECENT, end
    for step in (0, *_STEPS_BACK):
        if step < time:
            yield time - step, Fraction(0), end
    yield Fraction(0), Fraction(0), end
    yield Fraction(0), Fraction(0), None


def _last_picture(chunks: Iterable[bytes]) -> bytes:
    """Return the last of several JPEGs, keeping no more than one."""
    picture = b""
    for chunk in chunks:
        picture += chunk
        picture = picture[max(0, picture.rfind(_JPEG_START)) :]
    return picture


def _picture(facts: Probe, width: int, box: Box | None) -> Iterator[str]:
    yield f"scale={width}:max(2\\,round({width}*ih/iw/sar)),setsar=1"
    if facts.hdr:
        yield tone_mapping("gbrp")
    if box is not None:
        yield (
            f"drawbox=x=iw*{box.x:.5f}:y=ih*{box.y:.5f}:w=iw*{box.width:.5f}:h=ih*{box.height:.5f}"
            ":color=red@0.9:thickness=2"
        )


def cut_clip(
    path: Path,
    *,
    tools: Tools,
    start: Fraction,
    end: Fraction,
    target: Path,
    facts: Probe | None = None,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> None:
    """Write the part from `start` to `end` (seconds) to `target`: MP4 with H.264 and AAC.

    The file appears complete or not at all, and its index comes first, so that playback can start
    while it loads. `facts` saves a call of `probe`. See `analyse` for `checkpoint`. Raise a
    VideoError, or ValueError if the part is empty.
    """
    if not 0 <= start < end:
        raise ValueError(f"a clip needs 0 <= start < end, not {start} and {end}")
    facts = facts or probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
    Work(facts, limits=limits).check(f"a clip of {float(end - start):.1f} s", end - start)
    source = open_input(path, facts=facts, tools=tools, limits=limits, seek=start, start=start)
    part = f"trim=start=0:duration={float(end - start):.6f}"
    with _written(target) as file:
        finished = run(
            [*source.arguments, "-map", f"0:{facts.index}", "-map", "0:a:0?", *_NO_METADATA,
             "-vf", ",".join([source.video_filter, part, *_video_size(facts, CLIP_SIZE)]),
             "-af", f"{source.audio_filter},a{part}",
             *_ENCODING, "-preset", "veryfast", "-crf", "23", *_MP4, f"file:{file}"],
            timeout=limits.wall_time, limits=limits, checkpoint=checkpoint,
            read=(path,), write=(file,), niceness=_CLIP_NICENESS,
        )  # fmt: skip
        if finished.code != 0:
            message = "no clip can be extracted; the file is damaged there"
            raise _failure(message, finished.error_tail, path=path, limits=limits)
        _check_not_empty(file, tools=tools, start=start)


def convert(
    path: Path,
    *,
    tools: Tools,
    target: Path,
    facts: Probe,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> None:
    """Write the whole video to `target` in a form that every browser plays: a preview.

    Its times are those of the clock. A picture that needs no conversion is copied. The file appears
    complete or not at all. Raise a VideoError.
    """
    deadline = clock.monotonic() + limits.wall_time
    source = open_input(path, facts=facts, tools=tools, limits=limits)
    picture = ["-map", f"0:{facts.index}", *_NO_METADATA]
    encoding = [
        "-vf", ",".join([source.video_filter, *_video_size(facts, PREVIEW_SIZE)]),
        *_ENCODING, "-preset", "superfast", "-crf", "26",
    ]  # fmt: skip
    attempts = [[*picture, "-map", "0:a:0?", "-af", source.audio_filter, *encoding]]
    if facts.has_audio:
        attempts.append([*picture, *encoding])  # the sound may be what cannot be decoded
    jumps = facts.map is not None and (facts.raw or len(facts.map.stretches) > 1)
    if facts.codec == "h264" and facts.pixel_format in {"yuv420p", "yuvj420p"} and not jumps:
        sound = ["-c:a", "copy"] if facts.audio_codec == "aac" else ["-c:a", "aac", "-ac", "2"]
        shift = ["-output_ts_offset", f"{-float(facts.start):.6f}"]
        attempts.insert(0, [*picture, "-map", "0:a:0?", "-c:v", "copy", *sound, *shift])
    with _written(target) as file:
        for attempt in attempts:
            finished = run(
                [*source.arguments, *attempt, *_MP4, f"file:{file}"],
                timeout=max(0.1, deadline - clock.monotonic()), limits=limits,
                checkpoint=checkpoint, read=(path,), write=(file,), niceness=_CLIP_NICENESS,
            )  # fmt: skip
            if finished.code == 0:
                break
        else:
            raise _failure("no preview can be made", finished.error_tail, path=path, limits=limits)
        _check_not_empty(file, tools=tools, start=Fraction(0))


def _failure(message: str, log: str, *, path: Path, limits: Limits) -> VideoError:
    if OUT_OF_MEMORY.search(log):
        return memory_limit_error(limits)
    return UnreadableVideoError(message, log=readable(log, path=path))


def _video_size(facts: Probe, longer: int) -> Iterator[str]:
    # Square pixels, both sides even as H.264 requires, never enlarged.
    yield (
        "scale=max(2\\,trunc(iw*sar/2)*2):max(2\\,trunc(ih/2)*2),setsar=1,"
        f"scale=min({longer}\\,iw):min({longer}\\,ih)"
        ":force_original_aspect_ratio=decrease:force_divisible_by=2"
    )
    if facts.hdr:
        yield tone_mapping("yuv420p")


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    """Yield a temporary path; move the file to `target` if the block succeeds."""
    # In the target's directory, because renames are atomic only within a file system.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check_not_empty(part: Path, *, tools: Tools, start: Fraction) -> None:
    # ffmpeg succeeds even if it writes a file without frames.
    try:
        probe(part, tools=tools)
    except (UnreadableVideoError, NoVideoStreamError) as error:
        raise UnreadableVideoError(f"the video has no frame after {float(start):.1f} s") from error
