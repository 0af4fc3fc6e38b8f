"""Identify a file with ffprobe, never by its name or the type the client claims.

Only self-contained formats are allowed. ffmpeg also reads playlists and scripts (hls, concat, dash
…) that refer to *other* files and URLs, so an uploaded text file could otherwise make the service
read its own disk or network.
"""

import json
import math
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from app.video.clock import Index, scan
from app.video.complaints import ENCRYPTED, explain
from app.video.errors import NoVideoStreamError, UnreadableVideoError, VideoTooBigError
from app.video.formats import RESTRICTIONS
from app.video.options import DEFAULT_LIMITS, Limits, Tools, no_checkpoint
from app.video.process import (
    OUT_OF_MEMORY,
    TOO_LARGE,
    Finished,
    memory_limit_error,
    run,
    stream,
)

PROBE_TIMEOUT_S = 30.0
# A scan reads the whole file; no disk is slower than this many bytes per second.
_SCAN_RATE = 20e6
# Containers whose timestamps may jump and that have no index, and streams without a container.
RAW = frozenset({"h264", "hevc", "mpegvideo", "m4v", "mjpeg"})
_SCANNED = frozenset({"mpegts", "mpeg"}) | RAW
# Timestamps of a broadcast stream start over after 26.5 hours. ffmpeg's own correction depends on
# where it starts to read, so it is off: the clock's stretches take care of it.
_SCAN_OPTIONS = ("-correct_ts_overflow", "0")

_ENTRIES = (
    "format=format_name,start_time,duration"
    ":format_tags=creation_time,com.apple.quicktime.creationdate"
    ":stream=index,codec_type,codec_name,codec_tag_string,width,height,sample_aspect_ratio"
    ",pix_fmt,color_transfer,avg_frame_rate,r_frame_rate,time_base,start_time,duration,nb_frames"
    ":stream_disposition=attached_pic:stream_tags=rotate,DURATION,creation_time"
    ":stream_side_data=displaymatrix:packet=stream_index,duration:packet_side_data=side_data_type"
)
# Enough to see whether they are encrypted (ISO 23001-7, Common Encryption), and for how long a
# picture of a raw stream is shown.
_FIRST_PACKETS = "%+#8"
# Without an end, ffprobe compares with memory it has never written, and may read nothing.
_END_S = 10**9
_ENCRYPTION = "Encryption info"
# Faster than any camera: such a "rate" is a container's unit of time.
_MAX_FRAME_RATE = 960
_FALLBACK_RATE = Fraction(25)
_JPEG = re.compile(r"\[jpeg_pipe[^\]]*\] Format not on whitelist")
_HDR = frozenset({"smpte2084", "arib-std-b67"})
# Clocks that were never set start in 1904 or 1970.
_FIRST_YEAR = 1990
# What every browser plays: containers, then codecs of picture and sound.
_PLAYABLE = (
    ("mov", {"h264"}, {"yuv420p", "yuvj420p"}, {"aac", "mp3"}),
    ("matroska", {"vp8", "vp9"}, {"yuv420p"}, {"opus", "vorbis"}),
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
    """In seconds, on the clock: when the picture ends; None if unknown."""
    video_duration: Fraction | None
    """The same; None if only the duration of the whole file is known."""
    time_base: Fraction
    """Seconds per tick of the stream's timestamps."""
    has_audio: bool
    index: int = 0
    """Index of the stream within the file."""
    frames: int | None = None
    """Number of frames; None if unknown."""
    start: Fraction = Fraction(0)
    """Timestamp in seconds of the file's first packet, whatever its stream: zero on the clock."""
    map: Index | None = None
    """Where its timestamps and pictures lie, of a file that has no index of its own."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel relative to its height."""
    pixel_format: str | None = None
    hdr: bool = False
    """Whether the brightness is encoded for HDR displays (PQ or HLG)."""
    audio_codec: str | None = None
    recorded_at: datetime | None = None
    """When the recording began, as the file says, in UTC."""

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height in square pixels, upright, as displayed by players."""
        width = max(1, round(self.width * self.pixel_aspect))
        return (self.height, width) if self.rotation in {90, 270} else (width, self.height)

    @property
    def playable(self) -> bool:
        """Whether every browser plays the file as it is."""
        sound = {self.audio_codec} if self.has_audio else set()
        return any(
            name in self.container.split(",")
            and self.codec in codecs
            and self.pixel_format in formats
            and sound <= sounds
            for name, codecs, formats, sounds in _PLAYABLE
        )

    @property
    def raw(self) -> bool:
        """Whether the file is a stream without container, and therefore without timestamps."""
        return self.container in RAW


def probe(
    path: Path,
    *,
    tools: Tools,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> Probe:
    """Probe the video in `path`; see `process.run` for `checkpoint`.

    A file without an index is read once (see `clock`). Raise UnreadableVideoError,
    NoVideoStreamError, VideoTooBigError, TimeLimitError or MemoryLimitError if the file is at
    fault, ToolError if ffprobe is.
    """
    _check_file(path)
    command = [tools.ffprobe, "-v", "error", "-hide_banner", *RESTRICTIONS,
               "-max_pixels", str(limits.pixels), *_SCAN_OPTIONS]  # fmt: skip

    def ask() -> Finished:
        return run(
            [*command, "-read_intervals", _FIRST_PACKETS, "-show_entries", _ENTRIES,
             "-of", "json", f"file:{path}"],
            timeout=min(PROBE_TIMEOUT_S, limits.wall_time), limits=limits, checkpoint=checkpoint,
            read=(path,),
        )  # fmt: skip

    image = finished = ask()
    if _JPEG.search(finished.error_tail):
        # ffprobe takes a stream of JPEGs for a single one.
        command += ["-f", "mjpeg"]
        finished = ask()
    # ffprobe does not report the size of such a frame, except in its log.
    too_large = TOO_LARGE.findall(finished.error_tail)
    if finished.code != 0:
        if too_large:
            raise _too_large(too_large[-1], limits=limits)
        if OUT_OF_MEMORY.search(finished.error_tail):
            raise memory_limit_error(limits)
        raise explain(image.error_tail, path=path)
    if ENCRYPTED.search(finished.error_tail):
        raise _encrypted()
    try:
        facts = parse(finished.output, limits=limits)
    except UnreadableVideoError as error:
        if not too_large:
            raise
        raise _too_large(too_large[-1], limits=limits) from error
    if facts.container not in _SCANNED:
        return facts
    command += ["-select_streams", str(facts.index), "-of", "csv=p=0",
                "-show_entries", "packet=pts,dts,duration,pos,flags", f"file:{path}"]  # fmt: skip
    timeout = min(PROBE_TIMEOUT_S + path.stat().st_size / _SCAN_RATE, limits.wall_time)
    rate = facts.frame_rate or _FALLBACK_RATE
    found = scan(
        _lines(
            stream(command, timeout=timeout, limits=limits, checkpoint=checkpoint, read=(path,))
        ),
        tick=1 / rate if facts.raw else facts.time_base,
        start=facts.start,
        frame=1 / rate,
        counted=facts.raw,
    )
    if facts.container == "mjpeg" and (found is None or found.frames < 2):
        raise explain(image.error_tail, path=path)
    if found is None:
        return facts
    duration = found.end * found.tick
    facts = replace(
        facts,
        map=found,
        frame_rate=_credible(facts.frame_rate, frames=found.frames, duration=duration),
        duration=duration,
        video_duration=duration,
        frames=found.frames,
    )
    check_size(facts, limits=limits)
    return facts


def last_packet(
    path: Path, *, facts: Probe, tools: Tools, after: Fraction, checkpoint: Callable[[], None]
) -> Fraction:
    """Return the time of the file's last packet of any stream, reading from `after` (seconds)."""
    begin = max(Fraction(0), after + facts.start)
    command = [tools.ffprobe, "-v", "quiet", *RESTRICTIONS, "-of", "csv=p=0",
               "-read_intervals", f"{float(begin):.3f}%{_END_S}",
               "-show_entries", "packet=dts_time",
               f"file:{path}"]  # fmt: skip
    timeout = PROBE_TIMEOUT_S + path.stat().st_size / _SCAN_RATE
    chunks = stream(command, timeout=timeout, checkpoint=checkpoint, read=(path,))
    times = (_seconds(line.split(",")[0]) for line in _lines(chunks))
    return max((time - facts.start for time in times if time is not None), default=after)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("ascii", "replace") for line in lines)


def _encrypted() -> UnreadableVideoError:
    return UnreadableVideoError("the video is encrypted; only its owner's player can decode it")


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
        packets: list[dict[str, Any]] = document.get("packets", [])
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
    if any(
        data.get("side_data_type") == _ENCRYPTION
        for packet in packets
        for data in packet.get("side_data_list", [])
    ):
        raise _encrypted()
    facts = _to_probe(
        videos[0], document["format"], container=container, streams=streams, packets=packets
    )
    check_size(facts, limits=limits)
    return facts


def check_size(facts: Probe, *, limits: Limits) -> None:
    """Raise VideoTooBigError if a video exceeds the limits."""
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
    packets: list[dict[str, Any]],
) -> Probe:
    width, height = int(video.get("width", 0)), int(video.get("height", 0))
    if width <= 0 or height <= 0:
        raise UnreadableVideoError("the video stream has no frame size; the file is damaged")
    rotation, mirrored = _orientation(video)
    start = _seconds(container_facts.get("start_time")) or Fraction(0)
    begin = _seconds(video.get("start_time"))
    delay = Fraction(0) if begin is None else begin - start
    file_duration = _fraction(container_facts.get("duration"))
    length = _fraction(video.get("duration"))
    # Matroska's tag counts from the start of the file.
    video_duration = (
        _clock(video.get("tags", {}).get("DURATION")) if length is None else length + delay
    )
    audio = [stream for stream in streams if stream.get("codec_type") == "audio"]
    frames = _count(video.get("nb_frames"))
    rate = _fraction(video.get("avg_frame_rate"))
    time_base = _fraction(video.get("time_base")) or Fraction(1, 1000)
    if container in RAW:
        rate = _raw_rate(packets, time_base=time_base) or rate
    return Probe(
        container=container,
        codec=str(video.get("codec_name", "unknown")),
        width=width,
        height=height,
        rotation=rotation,
        mirrored=mirrored,
        frame_rate=_credible(rate, frames=frames, duration=length),
        duration=video_duration or file_duration,
        video_duration=video_duration or (None if audio else file_duration),
        time_base=time_base,
        has_audio=bool(audio),
        index=int(video.get("index", 0)),
        frames=frames,
        start=start,
        pixel_aspect=_fraction(str(video.get("sample_aspect_ratio")).replace(":", "/"))
        or Fraction(1),
        pixel_format=video.get("pix_fmt"),
        hdr=video.get("color_transfer") in _HDR,
        audio_codec=str(audio[0].get("codec_name", "unknown")) if audio else None,
        recorded_at=_recorded_at(video, container_facts),
    )


def _raw_rate(packets: list[dict[str, Any]], *, time_base: Fraction) -> Fraction | None:
    """Return the rate at which a stream without container says its pictures follow, if it does.

    The rates of the stream are no help: one may be the 25 that ffprobe assumes, the other the rate
    of fields.
    """
    lasting = [ticks for packet in packets if (ticks := _fraction(packet.get("duration")))]
    return len(lasting) / (sum(lasting) * time_base) if lasting else None


def _credible(
    rate: Fraction | None, *, frames: int | None, duration: Fraction | None
) -> Fraction | None:
    """Return a rate, or None if it cannot be that of the file's frames."""
    if rate is None or rate > _MAX_FRAME_RATE:
        return None
    # The rate of fields, or of a timestamp unit, is twice the rate of frames or more.
    if frames and frames > 1 and duration and rate > frames / duration * Fraction(3, 2):
        return None
    return rate


def _recorded_at(video: dict[str, Any], container_facts: dict[str, Any]) -> datetime | None:
    tags = container_facts.get("tags", {})
    for text in (
        tags.get("com.apple.quicktime.creationdate"),
        tags.get("creation_time"),
        video.get("tags", {}).get("creation_time"),
    ):
        try:
            found = datetime.fromisoformat(str(text).strip())
            if found.tzinfo is None:
                continue  # some local time
            found = found.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        if found.year >= _FIRST_YEAR and found < datetime.now(UTC) + timedelta(days=1):
            return found
    return None


def _seconds(text: object) -> Fraction | None:
    try:
        return Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return None


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
