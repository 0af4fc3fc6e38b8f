"""Turn what ffmpeg and ffprobe print into a sentence for users, and lines for experts."""

import re
from pathlib import Path

from app.video.errors import UnreadableVideoError
from app.video.formats import ACCEPTED

ENCRYPTED = re.compile("DRM protected")
_REFUSED = re.compile(r"\[(\w+)(?: @ 0x[0-9a-f]+)?\] Format not on whitelist")
# FFmpeg 7 does not even consider a playlist whose name does not end like one.
_PLAYLIST = "Not detecting m3u8/hls"
_REFUSED_CODEC = re.compile(r"Codec \(([\w-]+)\) not on whitelist")
# What ffmpeg's demuxers read, where their names do not say it.
_KINDS = {
    "hls": "an HLS playlist",
    "dash": "a DASH manifest",
    "concat": "a list of files",
    "ffmetadata": "a metadata file",
    "sdp": "an SDP description",
    "image2": "an image",
    "tty": "a text file",
    "ico": "an icon",
    "srt": "a subtitle file",
    "webvtt": "a subtitle file",
    "ass": "a subtitle file",
}
_SENTENCES = (
    ("moov atom not found",
     "the MP4 or MOV file has no index (moov atom not found): it was cut short or not finished"),
    ("EBML header parsing failed", "the Matroska or WebM file is damaged at its start"),
)  # fmt: skip
# Lines that say nothing about the file.
_NOISE = re.compile(
    r"^\s*$|Last message repeated|Error marking filters as finished|Conversion failed"
    r"|thread_get_buffer\(\) failed|Error while (?:filtering|processing)|Task finished with error"
    rf"|Terminating thread|not on whitelist|Nothing was written|{_PLAYLIST}"
)
# "[h264 @ 0x55d0…] [error] text"; the start of the first line may be cut off.
_PREFIX = re.compile(r"(?:\[?(\w+)?[^\[\]]* @ )?\[?0x[0-9a-f]+\]\s*(?:\[\w+\] )?")
_MAX_LINES, _MAX_LINE = 4, 300


def explain(output: str, *, path: Path) -> UnreadableVideoError:
    """Return the error of a file that ffprobe refuses, from its log."""
    log = readable(output, path=path)
    refused = _REFUSED.search(output)
    if refused is not None or _PLAYLIST in output:
        kind = _name(refused[1] if refused is not None else "hls")
        return UnreadableVideoError(f"{kind} is not accepted; accepted are {ACCEPTED}", log=log)
    refused = _REFUSED_CODEC.search(output)
    if refused is not None:
        kind = f"a stream with the codec {refused[1]!r}"
        return UnreadableVideoError(f"{kind} is not accepted; accepted are {ACCEPTED}", log=log)
    for words, sentence in _SENTENCES:
        if words in output:
            return UnreadableVideoError(sentence, log=log)
    return UnreadableVideoError(
        f"the content is not a video in a known format, or it is damaged; accepted are {ACCEPTED}",
        log=log,
    )


def _name(demuxer: str) -> str:
    if demuxer.endswith("_pipe"):
        return f"an image ({demuxer.removesuffix('_pipe').upper()})"
    return _KINDS.get(demuxer, f"a file of the kind {demuxer!r}")


def readable(output: str, *, path: object) -> str | None:
    """Return the last few lines worth reading, without memory addresses and the file's path."""
    lines: list[str] = []
    for raw in output.replace(f"file:{path}", "the file").split("\n"):
        line = _PREFIX.sub(lambda match: f"{match[1]}: " if match[1] else "", raw)
        line = re.sub(r" @ 0x[0-9a-f]+", "", line).strip()
        if _NOISE.search(line) is None and line not in lines:
            lines.append(line if len(line) <= _MAX_LINE else f"{_shortened(line)} …")
    return "\n".join(lines[-_MAX_LINES:]) or None


def _shortened(line: str) -> str:
    return line[:_MAX_LINE].rpartition(" ")[0] or line[:_MAX_LINE]
