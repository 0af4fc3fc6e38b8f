"""Create small videos with known content, using ffmpeg."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tests.support import programs

from app.video import Tools

_H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


def tools() -> Tools:
    """Return the programs for the library under test."""
    return Tools(
        ffmpeg=programs.find("ffmpeg", variable="FFMPEG"),
        ffprobe=programs.find("ffprobe", variable="FFPROBE"),
    )


_made: dict[tuple[str, ...], Path] = {}
"""Where a film from generated sources lies, by the arguments that made it."""


def _ffmpeg(arguments: list[str], target: Path) -> Path:
    generated = "lavfi" in arguments or "-filter_complex" in arguments
    known = (*arguments, target.suffix)
    if generated and known in _made and _made[known].exists():
        if _made[known] != target:
            shutil.copyfile(_made[known], target)
        return target
    program = programs.find("ffmpeg", variable="FFMPEG")
    command = [program, "-v", "error", "-nostdin", "-y", *arguments, str(target)]
    finished = subprocess.run(command, capture_output=True, check=False)
    if finished.returncode != 0:
        raise AssertionError(f"{command}: {finished.stderr.decode()}")
    if generated:
        _made[known] = target
    return target


def pattern(target: Path, *, seconds: int = 2, rate: str = "25", size: str = "320x240") -> Path:
    """Create a moving test pattern; its content depends on every parameter."""
    source = f"testsrc=size={size}:rate={rate}:duration={seconds}"
    return _ffmpeg(["-f", "lavfi", "-i", source, *_H264], target)


def repeated(source: Path, target: Path, *, times: int) -> Path:
    """Repeat a clip `times` times without re-encoding it."""
    loop = ["-stream_loop", str(times - 1)]
    return _ffmpeg([*loop, "-i", str(source), "-c", "copy"], target)


def still_then_moving(target: Path) -> Path:
    """Create nine seconds of grey in which a white square crosses from 3 s to 6 s."""
    scene = (
        "color=c=0x404040:size=320x240:rate=10:duration=9[back];"
        "color=c=white:size=60x60:rate=10:duration=9[square];"
        "[back][square]overlay=x='(t-3)*100':y=90:enable='between(t,3,6)'"
    )
    return _ffmpeg(["-filter_complex", scene, *_H264], target)


def yard(target: Path, *, name: str = "") -> Path:
    """Create twelve seconds of a yard with a person from 2 s to 5 s and a car from 8 s to 10 s.

    The content depends on `name`.
    """
    scene = (
        "gradients=size=640x360:rate=15:duration=12:c0=0x6f8fa8:c1=0x4a5a48:"
        "x0=0:y0=0:x1=0:y1=359:speed=0.00001[sky];"
        "color=c=0x5b4636:size=640x110:rate=15:duration=12[ground];"
        "color=c=0xd8d2c4:size=46x110:rate=15:duration=12[person];"
        "color=c=0x8a1f1f:size=120x56:rate=15:duration=12[car];"
        "[sky][ground]overlay=0:250[yard];"
        "[yard][person]overlay=x='(t-2)*200':y=190:enable='between(t,2,5)'[walks];"
        "[walks][car]overlay=x='640-(t-8)*330':y=236:enable='between(t,8,10)'"
    )
    note = ["-metadata", f"title={name}"]
    return _ffmpeg(["-filter_complex", scene, *_H264, *note, "-movflags", "+faststart"], target)


def brightness(target: Path, *, colour: str) -> Path:
    """Create one second of a single colour."""
    source = f"color=c={colour}:size=160x120:rate=10:duration=1"
    return _ffmpeg(["-f", "lavfi", "-i", source, *_H264], target)


def skipped(target: Path, *, frames: int) -> Path:
    """Create frames of 4096 x 2160 pixels, of which all but the first only repeat it: 200 bytes."""
    source = f"color=c=gray:size=4096x2160:rate=60:duration={frames / 60:.4f}"
    options = "keyint=infinite:scenecut=0:rc-lookahead=0:threads=2"
    return _ffmpeg(["-f", "lavfi", "-i", source, *_H264, "-x264-params", options], target)


def rotated(source: Path, target: Path, *, degrees: int) -> Path:
    """Copy an MP4 that players turn clockwise by 90, 180 or 270 degrees."""
    turns = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
    return with_display_matrix(source, target, matrix=turns[degrees])


def with_display_matrix(source: Path, target: Path, *, matrix: tuple[int, int, int, int]) -> Path:
    """Copy an MP4 with another display matrix, which maps (x, y) to (a x + c y, b x + d y)."""
    content = bytearray(source.read_bytes())
    first = content.index(b"tkhd") + 44  # in version 0 of the box (ISO 14496-12 §8.3.2)
    a, b, c, d = (value << 16 for value in matrix)
    content[first : first + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


def variable_rate(target: Path) -> Path:
    """Create four seconds: ten frames in the first, then two per second (Matroska timestamps)."""
    scene = "testsrc=size=160x120:rate=10:duration=4,select='lt(t,1)+not(mod(n,5))'"
    return _ffmpeg(["-f", "lavfi", "-i", scene, "-fps_mode", "vfr", *_H264], target)


def audio_only(target: Path, *, seconds: int = 2) -> Path:
    """Create a tone without video."""
    return _ffmpeg(["-f", "lavfi", "-i", f"sine=duration={seconds}"], target)


def with_audio(target: Path, *, video_seconds: int, audio_seconds: int) -> Path:
    """Create a clip whose audio and video differ in length."""
    return _ffmpeg(
        ["-f", "lavfi", "-i", f"testsrc=size=160x120:rate=10:duration={video_seconds}",
         "-f", "lavfi", "-i", f"sine=duration={audio_seconds}", *_H264, "-c:a", "aac"],
        target,
    )  # fmt: skip


def hevc_with_audio(target: Path) -> Path:
    """Create a clip whose video (H.265) browsers cannot decode, but whose sound they can."""
    return _ffmpeg(
        ["-f", "lavfi", "-i", "testsrc=size=320x180:rate=10:duration=3",
         "-f", "lavfi", "-i", "sine=duration=3", "-c:v", "libx265", "-x265-params",
         "log-level=none", "-preset", "ultrafast", "-tag:v", "hvc1", "-c:a", "aac"],
        target,
    )  # fmt: skip


def truncated(target: Path, *, keep: float) -> Path:
    """Create a clip with its index first, then truncate it to the share `keep`."""
    whole = _ffmpeg(
        ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=10", *_H264,
         "-movflags", "+faststart"],
        target.with_name(f"whole-{target.name}"),
    )  # fmt: skip
    content = whole.read_bytes()
    target.write_bytes(content[: int(len(content) * keep)])
    return target


def long_last_frame(target: Path) -> Path:
    """Create ten frames in one second, the last of which is displayed for nine more."""
    scene = "testsrc=size=160x120:rate=10:duration=10,select='lt(n,10)+eq(n,99)'"
    whole = target.with_suffix(".nut")
    _ffmpeg(["-f", "lavfi", "-i", scene, "-fps_mode", "vfr", *_H264], whole)
    # MP4 stores only when the next frame starts, so another frame is needed at the end.
    return _ffmpeg(["-i", str(whole), "-c", "copy"], target)


def still_frames(target: Path, *, size: str) -> Path:
    """Create three identical frames of any size in a small file."""
    source = f"color=c=gray:size={size}:rate=5:duration=0.6"
    return _ffmpeg(["-f", "lavfi", "-i", source, *_H264], target)


def growing_frames(target: Path) -> Path:
    """Create a stream whose frame size increases midway."""
    with target.open("wb") as stream:
        for size in ("320x240", "1920x1080"):
            part = target.with_name(f"{size}-{target.name}")
            stream.write(pattern(part, seconds=1, size=size).read_bytes())
    return target


def without_duration(source: Path, target: Path) -> Path:
    """Copy a clip into a file without a duration, like a live recording."""
    return _ffmpeg(["-i", str(source), "-c", "copy", "-f", "matroska", "-live", "1"], target)


def days(target: Path, *, days: int) -> Path:
    """Create a tiny file that lasts for days: one frame every twelve hours."""
    scene = f"color=c=gray:size=64x64:rate=1/43200:duration={days * 86400}"
    return _ffmpeg(["-f", "lavfi", "-i", scene, *_H264], target)


def with_display_aspect(target: Path, *, aspect: str) -> Path:
    """Create a clip with non-square pixels and the given display aspect ratio."""
    source = "testsrc=size=320x240:rate=10:duration=1"
    return _ffmpeg(["-f", "lavfi", "-i", source, "-aspect", aspect, *_H264], target)


def reencoded(source: Path, target: Path, *, size: str) -> Path:
    """Re-encode a video in another size, as cameras do (H.264, High profile)."""
    scale = f"scale={size.replace('x', ':')}"
    encoding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"]
    return _ffmpeg(["-i", str(source), "-an", "-vf", scale, *encoding], target)


def variant(source: Path, number: int) -> bytes:
    """Return an MP4 with the same video but different bytes, using a box that players skip."""
    return source.read_bytes() + struct.pack(">I4sQ", 16, b"free", number)


# When the block of `crossing` crosses the frame from left to right, in seconds.
CROSSINGS = ((2.0, 4.0), (6.0, 8.0))


def crossing(target: Path, *, seconds: int = 10) -> Path:
    """Create a still scene that a blue block crosses twice; where it is tells the time."""
    begin = "if(gte(t,6),6,2)"
    scene = (
        # A tick is a frame: "N/25/TB" is a rounding error below the whole number in places.
        f"testsrc2=size=320x180:rate=25:duration={seconds},trim=end_frame=1,loop=-1:1,"
        f"setpts=N,trim=duration={seconds},hue=s=0,gblur=sigma=1[back];"
        f"color=c=blue:size=40x40:rate=25:duration={seconds}[block];"
        f"[back][block]overlay=x='-40+(t-{begin})*180':y=70"
        ":enable='between(t,2,4)+between(t,6,8)'"
    )
    return _ffmpeg(["-filter_complex", scene, *_H264], target)


def block_time(image: npt.NDArray[np.uint8]) -> float | None:
    """Return how long ago the block of `crossing` has entered a picture (BGR), or None."""
    height, width = image.shape[:2]
    row = image[round(height * 80 / 180) : round(height * 100 / 180)].astype(int).mean(axis=0)
    columns = np.flatnonzero(row[:, 0] - row[:, 2] > 90)
    if not len(columns):
        return None
    left, right = columns[0] * 320 / width, (columns[-1] + 1) * 320 / width
    # At the left border only a part of the block is visible.
    return float((left + 40 if right >= 40 else right) / 180)


def converted(source: Path, target: Path, *options: str) -> Path:
    """Convert a video with options of ffmpeg."""
    return _ffmpeg(["-i", str(source), *options], target)


def joined(target: Path, *parts: Path) -> Path:
    """Append files to each other, as a recorder that is restarted does."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def with_tone(source: Path, target: Path, *, seconds: float, options: tuple[str, ...] = ()) -> Path:
    """Copy a video and add sound of the given length, which starts at 0."""
    tone = ["-f", "lavfi", "-i", f"sine=duration={seconds}"]
    return _ffmpeg(
        [*options, "-i", str(source), *tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy",
         "-c:a", "aac"],
        target,
    )  # fmt: skip


def hdr(target: Path, *, transfer: str) -> Path:
    """Create one second in HDR: the left half deep shadow, the right half white (PQ or HLG)."""
    dark, white = {"smpte2084": (250, 594), "arib-std-b67": (200, 721)}[transfer]
    scene = (
        "color=black:size=160x90:rate=10:duration=1,format=yuv420p10le,"
        f"geq=lum='if(lt(X,80),{dark},{white})':cb=512:cr=512,"
        # FFmpeg 7 encodes the tags of the frames, 5 those of the options.
        f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    )
    colours = ["-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc"]
    encoding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"]
    return _ffmpeg(["-f", "lavfi", "-i", scene, *encoding, *colours], target)


def encrypted(source: Path, target: Path) -> Path:
    """Encrypt an MP4 with Common Encryption (AES-CTR)."""
    key = "0123456789abcdef0123456789abcdef"
    return _ffmpeg(
        ["-i", str(source), "-c", "copy", "-encryption_scheme", "cenc-aes-ctr",
         "-encryption_key", key, "-encryption_kid", key],
        target,
    )  # fmt: skip


def cut_off(source: Path, target: Path, *, keep: float) -> Path:
    """Copy the first share `keep` of a file, like a recording ended by a power failure."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * keep)])
    return target
