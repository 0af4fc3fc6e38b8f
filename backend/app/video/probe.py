"""Identify a file with ffprobe, never by its name or the type the client claims.

Only self-contained formats are allowed. ffmpeg also reads playlists and scripts (hls, concat, dash
…) that refer to *other* files and URLs, so an uploaded text file could otherwise make the service
read its own disk or network.
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
from app.video.options import DEFAULT_LIMITS, Limits, Tools, no_checkpoint
from app.video.process import OUT_OF_MEMORY, TOO_LARGE, memory_limit_error, run, sanitize

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,ivf,gif,"  # may hold video
    "mp3,wav,flac,aac"  # never do, but "no video stream" is a better error
)
PROTOCOLS = "file"
PROBE_TIMEOUT_S = 30.0
# Arguments for every run of ffmpeg and ffprobe, so that it opens nothing but the one file.
RESTRICTIONS = ("-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS)

_ENTRIES = (
    "format=format_name,duration"
    ":stream=index,codec_type,codec_name,width,height,avg_frame_rate,r_frame_rate,time_base"
    ",duration,nb_frames"
    ":stream_disposition=attached_pic:stream_tags=rotate,DURATION:stream_side_data=displaymatrix"
)


@dataclass(frozen=True)
class Probe:
    """What ffprobe reports about the first video stream."""

    container: str
    codec: str
    width: int
    """In pixels as encoded, before rotation."""
    height: int
    rotation: int
    """Clockwise rotation in degrees that players apply: 0, 90, 180 or 270."""
    mirrored: bool
    """Whether players swap left and right before rotating."""
    frame_rate: Fraction | None
    """Average frames per second; None if unknown."""
    duration: Fraction | None
    """In seconds; None if unknown."""
    video_duration: Fraction | None
    """Duration of the video stream alone in seconds; None if only the file's is known."""
    time_base: Fraction
    """Seconds per tick of the stream's timestamps."""
    has_audio: bool
    index: int = 0
    """Index of the stream within the file."""
    frames: int | None = None
    """Number of frames; None if unknown."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed by players."""
        if self.rotation in {90, 270}:
            return self.height, self.width
        return self.width, self.height


def probe(
    path: Path,
    *,
    tools: Tools,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> Probe:
    """Probe the video in `path`; see `process.run` for `checkpoint`.

    Raise UnreadableVideoError, NoVideoStreamError, VideoTooBigError, TimeLimitError or
    MemoryLimitError if the file is at fault, ToolError if ffprobe is.
    """
    _check_file(path)
    finished = run(
        [tools.ffprobe, "-v", "error", "-hide_banner", *RESTRICTIONS,
         "-max_pixels", str(limits.pixels), "-show_entries", _ENTRIES, "-of", "json",
         f"file:{path}"],
        timeout=min(PROBE_TIMEOUT_S, limits.wall_time), limits=limits, checkpoint=checkpoint,
    )  # fmt: skip
    # ffprobe does not report the size of such a frame, except in its log.
    too_large = TOO_LARGE.findall(finished.error_tail)
    if finished.code != 0:
        if too_large:
            raise _too_large(too_large[-1], limits=limits)
        if OUT_OF_MEMORY.search(finished.error_tail):
            raise memory_limit_error(limits)
        reason = sanitize(finished.error_tail, path=path)
        raise UnreadableVideoError(f"ffprobe cannot read the file as a video: {reason}")
    try:
        return parse(finished.output, limits=limits)
    except UnreadableVideoError as error:
        if not too_large:
            raise
        raise _too_large(too_large[-1], limits=limits) from error


def _too_large(size: str, *, limits: Limits) -> VideoTooBigError:
    return VideoTooBigError(f"a frame of {size} exceeds the limit of {limits.pixels} pixels")


def _check_file(path: Path) -> None:
    try:
        facts = path.stat()
    except OSError as error:
        raise UnreadableVideoError(f"the file cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        # A FIFO or device may never end, and can be read only once.
        raise UnreadableVideoError("not a regular file but a directory, FIFO or device")
    if facts.st_size == 0:
        raise UnreadableVideoError("the file is empty")


def parse(output: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Probe:
    """Parse ffprobe's JSON output. Raise as `probe` does."""
    try:
        document = json.loads(output)
        container = str(document["format"]["format_name"])
        streams: list[dict[str, Any]] = document["streams"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableVideoError("ffprobe does not recognise the file as media") from error
    # Cover art in an audio file is a "video" stream too.
    videos = [
        stream
        for stream in streams
        if stream.get("codec_type") == "video"
        and not stream.get("disposition", {}).get("attached_pic")
    ]
    if not videos:
        if not streams:
            raise NoVideoStreamError("the file has no streams")
        kinds = {str(stream.get("codec_type", "unknown")) for stream in streams}
        names = sorted("cover art" if kind == "video" else kind for kind in kinds)
        raise NoVideoStreamError(f"the file has no video stream, only {' and '.join(names)}")
    facts = _to_probe(videos[0], document["format"], container=container, streams=streams)
    _check_size(facts, limits=limits)
    return facts


def _check_size(facts: Probe, *, limits: Limits) -> None:
    if facts.width * facts.height > limits.pixels:
        raise _too_large(f"{facts.width}x{facts.height}", limits=limits)
    if facts.duration is not None and facts.duration > limits.duration:
        raise VideoTooBigError(
            f"a duration of {float(facts.duration):.0f} s exceeds the limit of "
            f"{float(limits.duration):.0f} s"
        )


def _to_probe(
    video: dict[str, Any],
    container_facts: dict[str, Any],
    *,
    container: str,
    streams: list[dict[str, Any]],
) -> Probe:
    width, height = int(video.get("width", 0)), int(video.get("height", 0))
    if width <= 0 or height <= 0:
        raise UnreadableVideoError("the video stream has no frame size; the file is damaged")
    rotation, mirrored = _orientation(video)
    file_duration = _fraction(container_facts.get("duration"))
    video_duration = _fraction(video.get("duration")) or _clock(
        video.get("tags", {}).get("DURATION")
    )
    has_audio = any(stream.get("codec_type") == "audio" for stream in streams)
    return Probe(
        container=container,
        codec=str(video.get("codec_name", "unknown")),
        width=width,
        height=height,
        rotation=rotation,
        mirrored=mirrored,
        frame_rate=_fraction(video.get("avg_frame_rate")) or _fraction(video.get("r_frame_rate")),
        duration=video_duration or file_duration,
        video_duration=video_duration or (None if has_audio else file_duration),
        time_base=_fraction(video.get("time_base")) or Fraction(1, 1000),
        has_audio=has_audio,
        index=int(video.get("index", 0)),
        frames=_count(video.get("nb_frames")),
    )


def _fraction(text: object) -> Fraction | None:
    """Parse "30000/1001" or "12.345" exactly; return None if absent, zero or negative."""
    try:
        value = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _count(text: object) -> int | None:
    value = _fraction(text)
    return None if value is None else int(value)


def _clock(text: object) -> Fraction | None:
    """Parse Matroska's "00:01:02.345000000" exactly; return None if absent or malformed."""
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
    """Return the clockwise rotation in degrees, and whether the frame is mirrored first."""
    for side_data in video.get("side_data_list", []):
        if "displaymatrix" in side_data:
            return _parse_matrix(str(side_data["displaymatrix"]))
    try:
        return round(float(video.get("tags", {}).get("rotate", 0)) / 90) * 90 % 360, False
    except ValueError:
        return 0, False


def _parse_matrix(text: str) -> tuple[int, bool]:
    # Three lines such as "00000000:   0   65536   0". They map a point (x, y) to
    # (a x + c y, b x + d y), with y pointing down; mirroring changes the signs of a and b.
    rows = [line.partition(":")[2].split() for line in text.split("\n") if ":" in line]
    try:
        (a, b, _), (c, d, _), _ = ([int(value) for value in row] for row in rows)
    except ValueError:
        return 0, False
    return round(math.degrees(math.atan2(-c, d)) / 90) * 90 % 360, a * d - b * c < 0
