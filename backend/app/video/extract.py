"""Extract a thumbnail or a clip from a video.

ffmpeg re-encodes both, upright and with square pixels, in formats that every browser supports.
"""

import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from app.video.errors import NoVideoStreamError, UnreadableVideoError
from app.video.findings import Box
from app.video.options import DEFAULT_LIMITS, Limits, Tools, no_checkpoint
from app.video.probe import RESTRICTIONS, probe
from app.video.process import run, sanitize

THUMBNAIL_TIMEOUT_S = 60.0
MAX_WIDTH = 1920
# At the very end of a video there is no frame to seek to, so step back.
_STEP_BACK = Fraction(1)
# Square pixels, at most 1280 on the longer side, both sides even as H.264 requires.
_CLIP_FILTERS = (
    "scale=max(2\\,trunc(iw*sar/2)*2):max(2\\,trunc(ih/2)*2),setsar=1,"
    "scale=min(1280\\,iw):min(1280\\,ih)"
    ":force_original_aspect_ratio=decrease:force_divisible_by=2"
)


def thumbnail(
    path: Path,
    *,
    tools: Tools,
    time: Fraction,
    width: int = 320,
    box: Box | None = None,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> bytes:
    """Return the frame at `time` (seconds) as a JPEG `width` pixels wide, with `box` outlined.

    A time after the end gives the last frame. See `analyse` for `checkpoint`. Raise a VideoError if
    there is no such frame.
    """
    if not 16 <= width <= MAX_WIDTH:
        raise ValueError(f"width must be 16 to {MAX_WIDTH} pixels, not {width}")
    facts = probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
    begin = max(Fraction(0), time)
    if facts.duration is not None:
        begin = min(begin, facts.duration)
    finished = None
    # The requested time, otherwise the last frame after a step back, otherwise the last of all.
    for start, last in ((begin, False), (begin - _STEP_BACK, True), (Fraction(0), True)):
        filters = _filters(width=width, box=box, last=last)
        finished = run(
            [*_input_arguments(path, tools=tools, limits=limits, start=max(Fraction(0), start)),
             "-map", f"0:{facts.index}", "-frames:v", "1", "-vf", filters,
             "-map_metadata", "-1", "-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p",
             "-flags", "+bitexact", "-f", "image2pipe", "pipe:1"],
            timeout=min(THUMBNAIL_TIMEOUT_S, limits.wall_time), limits=limits,
            checkpoint=checkpoint,
        )  # fmt: skip
        if finished.code == 0 and finished.output:
            return finished.output
    reason = sanitize(finished.error_tail, path=path) if finished else "no error message"
    raise UnreadableVideoError(f"no frame can be extracted at {float(time):.1f} s: {reason}")


def _filters(*, width: int, box: Box | None, last: bool) -> str:
    filters = [f"scale={width}:max(2\\,round({width}*ih/iw/sar)),setsar=1"]
    if box is not None:
        filters.append(
            f"drawbox=x=iw*{box.x:.5f}:y=ih*{box.y:.5f}:w=iw*{box.width:.5f}:h=ih*{box.height:.5f}"
            ":color=red@0.9:thickness=2"
        )
    if last:
        filters.insert(0, "reverse")
    return ",".join(filters)


def _input_arguments(path: Path, *, tools: Tools, limits: Limits, start: Fraction) -> list[str]:
    return [
        tools.ffmpeg, "-hide_banner", "-nostdin", "-v", "error", *RESTRICTIONS,
        "-max_pixels", str(limits.pixels), "-ss", f"{float(start):.6f}", "-i", f"file:{path}",
    ]  # fmt: skip


def cut_clip(
    path: Path,
    *,
    tools: Tools,
    start: Fraction,
    end: Fraction,
    target: Path,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> None:
    """Write the part from `start` to `end` (seconds) to `target`: MP4 with H.264 and AAC.

    The file appears complete or not at all, and its index comes first, so that playback can start
    while it loads. See `analyse` for `checkpoint`. Raise a VideoError, or ValueError if the part is
    empty.
    """
    if not 0 <= start < end:
        raise ValueError(f"a clip needs 0 <= start < end, not {start} and {end}")
    facts = probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
    # In the target's directory, because renames are atomic only within a file system.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        finished = run(
            [*_input_arguments(path, tools=tools, limits=limits, start=start),
             "-t", f"{float(end - start):.6f}",
             "-map", f"0:{facts.index}", "-map", "0:a:0?", "-map_metadata", "-1",
             "-map_chapters", "-1",
             "-vf", _CLIP_FILTERS,
             "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p",
             "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-movflags", "+faststart",
             "-f", "mp4", "-y", f"file:{part}"],
            timeout=limits.wall_time, limits=limits, checkpoint=checkpoint,
        )  # fmt: skip
        if finished.code != 0:
            reason = sanitize(finished.error_tail, path=path)
            raise UnreadableVideoError(f"no clip can be extracted: {reason}")
        _check_not_empty(part, tools=tools, start=start)
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check_not_empty(part: Path, *, tools: Tools, start: Fraction) -> None:
    # ffmpeg succeeds even if it writes a file without frames.
    try:
        probe(part, tools=tools)
    except (UnreadableVideoError, NoVideoStreamError) as error:
        raise UnreadableVideoError(f"the video has no frame after {float(start):.1f} s") from error
