"""Asks ffprobe what a file is: never its name, never the type the client claims.

Only containers that hold their own data are opened. ffmpeg also reads play lists and scripts
(hls, concat, dash …) that name *other* files and addresses, so an uploaded text file could
otherwise make the service read its own disk or network.
"""

import json
import math
import stat
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from app.video.errors import NoVideoStreamError, UnreadableVideoError, VideoTooBigError
from app.video.options import DEFAULT_LIMITS, Limits, Tools, no_stop
from app.video.process import NO_MEMORY, TOO_LARGE, no_memory, presentable, run

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,ivf,gif,"  # may hold video
    "mp3,wav,flac,aac"  # never do, but then "it has no picture" is the better answer
)
PROTOCOLS = "file"
PROBE_TIMEOUT_S = 30.0
# What every call of ffmpeg and ffprobe is given, so that it opens nothing but the one file.
CLOSED = ("-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS)

_ENTRIES = (
    "format=format_name,duration"
    ":stream=index,codec_type,codec_name,width,height,avg_frame_rate,r_frame_rate,time_base"
    ",duration,nb_frames"
    ":stream_disposition=attached_pic:stream_tags=rotate,DURATION:stream_side_data=displaymatrix"
)


@dataclass(frozen=True)
class Probe:
    """What ffprobe says of the first video stream."""

    container: str
    codec: str
    width: int
    """Pixels as coded, before rotation."""
    height: int
    rotation: int
    """Degrees clockwise a player turns the picture: 0, 90, 180 or 270."""
    mirrored: bool
    """Whether it swaps left and right first."""
    frame_rate: Fraction | None
    """Average frames per second; None when the file does not say."""
    duration: Fraction | None
    """Seconds; None when the file does not say."""
    picture_duration: Fraction | None
    """Seconds of the video stream alone; None when the file only says how long the whole is."""
    time_base: Fraction
    """Seconds per tick of the stream's timestamps."""
    has_audio: bool
    index: int = 0
    """Number of the stream within the file."""
    frames: int | None = None
    """Number of pictures; None when the file does not say."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as a player shows it."""
        if self.rotation in {90, 270}:
            return self.height, self.width
        return self.width, self.height


def probe(
    path: Path,
    *,
    tools: Tools,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_stop,
) -> Probe:
    """Describe the video in `path`; `checkpoint` as for `process.run`.

    Raises UnreadableVideoError, NoVideoStreamError, VideoTooBigError, TimeLimitError or
    MemoryLimitError when the file is at fault, ToolError when ffprobe is.
    """
    _require_content(path)
    finished = run(
        [tools.ffprobe, "-v", "error", "-hide_banner", *CLOSED, "-max_pixels", str(limits.pixels),
         "-show_entries", _ENTRIES, "-of", "json", f"file:{path}"],
        timeout=min(PROBE_TIMEOUT_S, limits.wall_time), limits=limits, checkpoint=checkpoint,
    )  # fmt: skip
    # Such a picture is not even measured.
    too_large = TOO_LARGE.findall(finished.error_tail)
    if finished.code != 0:
        if too_large:
            raise _too_large(too_large[-1], limits=limits)
        if NO_MEMORY.search(finished.error_tail):
            raise no_memory(limits)
        reason = presentable(finished.error_tail, path=path)
        raise UnreadableVideoError(f"ffprobe cannot read the file as a video: {reason}")
    try:
        return parse(finished.output, limits=limits)
    except UnreadableVideoError as error:
        if not too_large:
            raise
        raise _too_large(too_large[-1], limits=limits) from error


def _too_large(size: str, *, limits: Limits) -> VideoTooBigError:
    return VideoTooBigError(f"the picture is {size}, over the limit of {limits.pixels} pixels")


def _require_content(path: Path) -> None:
    try:
        facts = path.stat()
    except OSError as error:
        raise UnreadableVideoError(f"the file cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        # A pipe or a device may never end, and could be read only once.
        raise UnreadableVideoError("this is not a file but a directory, pipe or device")
    if facts.st_size == 0:
        raise UnreadableVideoError("the file is empty")


def parse(output: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Probe:
    """Read ffprobe's JSON. Raises as `probe` does."""
    try:
        document = json.loads(output)
        container = str(document["format"]["format_name"])
        streams: list[dict[str, Any]] = document["streams"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableVideoError("ffprobe recognises no media in the file") from error
    # A cover picture in a sound file is a "video" stream too.
    videos = [
        stream
        for stream in streams
        if stream.get("codec_type") == "video"
        and not stream.get("disposition", {}).get("attached_pic")
    ]
    if not videos:
        kinds = sorted({str(stream.get("codec_type", "unknown")) for stream in streams})
        found = " and ".join(kinds) if kinds else "nothing"
        raise NoVideoStreamError(f"the file has no video stream; it holds {found}")
    facts = _describe(videos[0], document["format"], container=container, streams=streams)
    _refuse_too_big(facts, limits=limits)
    return facts


def _refuse_too_big(facts: Probe, *, limits: Limits) -> None:
    if facts.width * facts.height > limits.pixels:
        raise _too_large(f"{facts.width}x{facts.height}", limits=limits)
    if facts.duration is not None and facts.duration > limits.duration:
        raise VideoTooBigError(
            f"the file announces {float(facts.duration):.0f} s of video, over the limit of "
            f"{float(limits.duration):.0f} s"
        )


def _describe(
    video: dict[str, Any],
    container_facts: dict[str, Any],
    *,
    container: str,
    streams: list[dict[str, Any]],
) -> Probe:
    width, height = int(video.get("width", 0)), int(video.get("height", 0))
    if width <= 0 or height <= 0:
        raise UnreadableVideoError("the video stream has no picture size; the file is damaged")
    rotation, mirrored = _orientation(video)
    whole = _fraction(container_facts.get("duration"))
    picture = _fraction(video.get("duration")) or _clock(video.get("tags", {}).get("DURATION"))
    has_audio = any(stream.get("codec_type") == "audio" for stream in streams)
    return Probe(
        container=container,
        codec=str(video.get("codec_name", "unknown")),
        width=width,
        height=height,
        rotation=rotation,
        mirrored=mirrored,
        frame_rate=_fraction(video.get("avg_frame_rate")) or _fraction(video.get("r_frame_rate")),
        duration=picture or whole,
        picture_duration=picture or (None if has_audio else whole),
        time_base=_fraction(video.get("time_base")) or Fraction(1, 1000),
        has_audio=has_audio,
        index=int(video.get("index", 0)),
        frames=_count(video.get("nb_frames")),
    )


def _fraction(text: object) -> Fraction | None:
    """Read "30000/1001" or "12.345" exactly; None for what is absent, zero or negative."""
    try:
        value = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _count(text: object) -> int | None:
    value = _fraction(text)
    return None if value is None else int(value)


def _clock(text: object) -> Fraction | None:
    """Read Matroska's "00:01:02.345000000" exactly; None for what is absent or malformed."""
    parts = str(text).split(":")
    if len(parts) != 3:
        return None
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except (ValueError, ZeroDivisionError):
        return None
    value = hours * 3600 + minutes * 60 + seconds
    return value if value > 0 else None


def _orientation(video: dict[str, Any]) -> tuple[int, bool]:
    """Return by how many degrees clockwise the picture is turned, after being mirrored or not."""
    for side_data in video.get("side_data_list", []):
        if "displaymatrix" in side_data:
            return _read_matrix(str(side_data["displaymatrix"]))
    try:
        return round(float(video.get("tags", {}).get("rotate", 0)) / 90) * 90 % 360, False
    except ValueError:
        return 0, False


def _read_matrix(text: str) -> tuple[int, bool]:
    # Three lines such as "00000000:   0   65536   0". A point goes from (x, y) to
    # (a x + c y, b x + d y), with y downwards; mirroring changes the signs of a and b.
    rows = [line.partition(":")[2].split() for line in text.split("\n") if ":" in line]
    try:
        (a, b, _), (c, d, _), _ = ([int(value) for value in row] for row in rows)
    except ValueError:
        return 0, False
    return round(math.degrees(math.atan2(-c, d)) / 90) * 90 % 360, a * d - b * c < 0
