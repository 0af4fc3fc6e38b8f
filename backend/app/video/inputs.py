"""Open a file with ffmpeg so that every run sees the same clock (see `clock`).

ffmpeg's own zero depends on which streams a run uses and on where it starts to read. Timestamps are
therefore kept as they are in the file, and the first filter turns them into times on the clock.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from app.video.clock import Entry
from app.video.formats import RESTRICTIONS
from app.video.options import Limits, Tools
from app.video.probe import Probe

# So far before a place in an MPEG stream lie the tables that announce its streams.
_TABLES = 16 * 188


@dataclass(frozen=True)
class Input:
    """How to open a file, and the filters that set the clock."""

    arguments: list[str]
    """From the program's name to the file's."""
    video_filter: str
    audio_filter: str


def open_input(
    path: Path,
    *,
    facts: Probe,
    tools: Tools,
    limits: Limits,
    seek: Fraction | None = None,
    start: Fraction = Fraction(0),
    options: tuple[str, ...] = ("-v", "error"),
) -> Input:
    """Read a file from its start, or from a place before the picture shown at `seek` (seconds).

    The filters give each picture its time on the clock, minus `start`.
    """
    arguments = [
        tools.ffmpeg, "-hide_banner", "-nostdin", *options, *RESTRICTIONS,
        "-max_pixels", str(limits.pixels), "-copyts",
    ]  # fmt: skip
    if facts.map is None:
        if seek is not None and seek > 0:
            arguments += ["-noaccurate_seek", "-ss", f"{float(seek):.6f}"]
        zero = (facts.start + start) / facts.time_base
        return Input(
            [*arguments, "-i", f"file:{path}"],
            "setpts=PTS" if zero == 0 else f"setpts=round(PTS-{float(zero):.6f})",
            f"asetpts=round((T-{float(facts.start + start):.9f})/TB)",
        )
    index = facts.map
    entry = Entry(0, 0, 0) if seek is None else index.entry(seek)
    if facts.raw:
        arguments += ["-f", facts.container, "-r", str(1 / index.tick)]
    else:
        arguments += ["-correct_ts_overflow", "0"]
    return Input(
        [*arguments, "-i", _url(path, entry, prefix=index.prefix)],
        index.video_filter(entry, start=start),
        index.audio_filter(entry, start=start),
    )


def _url(path: Path, entry: Entry, *, prefix: int) -> str:
    position = entry.position if prefix else max(0, entry.position - _TABLES)
    if position == 0:
        return f"file:{path}"
    rest = f"subfile,,start,{position},end,0,,:{path}"
    return f"concat:subfile,,start,0,end,{prefix},,:{path}|{rest}" if prefix else rest


def tone_mapping(pixel_format: str) -> str:
    """Return filters from PQ or HLG to what ordinary displays show, in `pixel_format`."""
    # zscale refuses odd sizes if colours have a lower resolution than brightness.
    return (
        "format=yuv444p10le,zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,"
        f"tonemap=hable:desat=0,zscale=t=bt709:m={'gbr' if pixel_format == 'gbrp' else 'bt709'}"
        f":r={'full' if pixel_format == 'gbrp' else 'limited'},format={pixel_format}"
    )
