"""Takes parts out of a video for people to look at: one picture, or a stretch of it.

Both are coded anew by ffmpeg, upright and with square pixels, in kinds every browser plays.
"""

import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from app.video.errors import NoVideoStreamError, UnreadableVideoError
from app.video.findings import Box
from app.video.options import DEFAULT_LIMITS, Limits, Tools, no_stop
from app.video.probe import CLOSED, probe
from app.video.process import presentable, run

THUMBNAIL_TIMEOUT_S = 60.0
LARGEST_WIDTH = 1920
# Seeking reaches at or before the time asked for, but the very end has nothing after it.
_STEP_BACK = Fraction(1)
# Square pixels, at most 1280 on the longer side, both sides even as H.264 wants.
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
    checkpoint: Callable[[], None] = no_stop,
) -> bytes:
    """Return the picture shown at `time` (seconds) as a JPEG `width` pixels wide, `box` framed.

    A time after the end gives the last picture. `checkpoint` as for `analyse`. Raises a VideoError.
    """
    if not 16 <= width <= LARGEST_WIDTH:
        raise ValueError(f"a thumbnail is 16 to {LARGEST_WIDTH} pixels wide; found {width}")
    facts = probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
    begin = max(Fraction(0), time)
    if facts.duration is not None:
        begin = min(begin, facts.duration)
    finished = None
    # The time asked for, else the last picture near the end, else of all.
    for start, last in ((begin, False), (begin - _STEP_BACK, True), (Fraction(0), True)):
        filters = _filters(width=width, box=box, last=last)
        finished = run(
            [*_opened(path, tools=tools, limits=limits, start=max(Fraction(0), start)),
             "-map", f"0:{facts.index}", "-frames:v", "1", "-vf", filters,
             "-map_metadata", "-1", "-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p",
             "-flags", "+bitexact", "-f", "image2pipe", "pipe:1"],
            timeout=min(THUMBNAIL_TIMEOUT_S, limits.wall_time), limits=limits,
            checkpoint=checkpoint,
        )  # fmt: skip
        if finished.code == 0 and finished.output:
            return finished.output
    reason = presentable(finished.error_tail, path=path) if finished else "no message"
    raise UnreadableVideoError(f"no picture can be taken at {float(time):.1f} s: {reason}")


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


def _opened(path: Path, *, tools: Tools, limits: Limits, start: Fraction) -> list[str]:
    return [
        tools.ffmpeg, "-hide_banner", "-nostdin", "-v", "error", *CLOSED,
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
    checkpoint: Callable[[], None] = no_stop,
) -> None:
    """Write the stretch from `start` to `end` (seconds) to `target`: MP4 with H.264 and AAC.

    The file appears complete or not at all, and its index comes first, so that playing can begin
    while it loads. `checkpoint` as for `analyse`. Raises a VideoError; ValueError when the stretch
    is empty.
    """
    if not 0 <= start < end:
        raise ValueError(f"a clip needs 0 <= start < end; found {start} and {end}")
    facts = probe(path, tools=tools, limits=limits, checkpoint=checkpoint)
    # Beside the target: renaming is only atomic within a file system.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        finished = run(
            [*_opened(path, tools=tools, limits=limits, start=start),
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
            reason = presentable(finished.error_tail, path=path)
            raise UnreadableVideoError(f"no clip can be cut from the video: {reason}")
        _refuse_nothing(part, tools=tools, start=start)
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _refuse_nothing(part: Path, *, tools: Tools, start: Fraction) -> None:
    # ffmpeg calls a file without pictures a success.
    try:
        probe(part, tools=tools)
    except (UnreadableVideoError, NoVideoStreamError) as error:
        raise UnreadableVideoError(
            f"the video has no picture after {float(start):.1f} s"
        ) from error
