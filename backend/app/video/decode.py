"""Reads a file as timestamped grey pictures: an ffmpeg of its own decodes, in constant memory.

    file ──ffmpeg: decode, choose, crop, scale, grey, turn──▶ pixels (stdout)
                                                          └─▶ exact times (a second pipe)

One `tee` muxer writes both, so that each picture has its own time, in ticks of the stream's clock:
a variable frame rate is right by construction. ffmpeg decodes ahead while the caller looks at a
picture; full pipes are what stops it.
"""

import contextlib
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from app.video.errors import UnreadableVideoError
from app.video.options import WHOLE_PICTURE, Limits, Region, Tools
from app.video.pipes import Pipes
from app.video.probe import CLOSED, Probe
from app.video.process import POLL_S, start

GreyImage = npt.NDArray[np.uint8]

# Motion is judged on pictures of about this size, whatever the size of the video.
WORKING_PIXELS = 288 * 162
LONGEST_SIDE = 1024
_MOST_THREADS = 8
# Share of the pictures that may be damaged before the file counts as unreadable.
_MOST_ERRORS = 0.1
# ffmpeg's transposes, by degrees clockwise.
_TURNS = {0: (), 90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}


@dataclass(frozen=True)
class Frame:
    """One picture: grey, scaled, upright, and the exact time it is shown at (seconds)."""

    time: Fraction
    image: GreyImage


def working_size(width: int, height: int) -> tuple[int, int]:
    """Return the size (both sides at least 2) that a picture is judged at: never enlarged."""
    shrink = min(
        1.0, math.sqrt(WORKING_PIXELS / (width * height)), LONGEST_SIDE / max(width, height)
    )
    return max(2, round(width * shrink)), max(2, round(height * shrink))


def as_coded(region: Region, *, rotation: int, mirrored: bool = False) -> Region:
    """Return where a region of the upright picture lies in the picture as it is coded."""
    turned = _turned_back(region, rotation=rotation)
    if not mirrored:
        return turned
    return Region(max(0.0, 1 - turned.x - turned.width), turned.y, turned.width, turned.height)


def _turned_back(region: Region, *, rotation: int) -> Region:
    x, y, width, height = region.x, region.y, region.width, region.height
    if rotation == 90:
        return Region(y, max(0.0, 1 - x - width), height, width)
    if rotation == 180:
        return Region(max(0.0, 1 - x - width), max(0.0, 1 - y - height), width, height)
    if rotation == 270:
        return Region(max(0.0, 1 - y - height), x, height, width)
    return region


class FrameSource:
    """Yields the pictures of one file, at most `rate` per second, while a `with` block lasts.

    `check` is called for every picture and at least ten times a second, and may raise to stop.
    After the block ffmpeg is gone, whatever happened. `frames_decoded` is known at the end, `end`
    (time of the last picture) always.
    """

    def __init__(
        self,
        path: Path,
        *,
        tools: Tools,
        probe: Probe,
        rate: Fraction,
        region: Region | None,
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        self._path = path
        self._check = check
        self._limits = limits
        coded = as_coded(region or WHOLE_PICTURE, rotation=probe.rotation, mirrored=probe.mirrored)
        width, height = working_size(
            max(1, round(probe.width * coded.width)), max(1, round(probe.height * coded.height))
        )
        turned = probe.rotation in {90, 270}
        self.width, self.height = (height, width) if turned else (width, height)
        upright = (*(("hflip",) if probe.mirrored else ()), *_TURNS[probe.rotation])
        self._filters = _filters(coded, size=(width, height), upright=upright, rate=rate)
        self._program, self._stream = tools.ffmpeg, probe.index
        self.frames_decoded = 0
        self.end = Fraction(0)

    def __enter__(self) -> Self:
        """Start ffmpeg. Raises ToolError."""
        self._times, side = os.pipe()
        try:
            self._process = start(self._command(side=side), limits=self._limits, pass_fds=(side,))
        except BaseException:
            os.close(self._times)
            raise
        finally:
            os.close(side)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End ffmpeg."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._times)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _command(self, *, side: int) -> list[str]:
        # Only decoding is work for threads; each costs memory, and by default every step has one
        # for each core. The display matrix is obeyed by our own filters: turning small grey
        # pictures is cheap.
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)) + 1)
        return [
            self._program, "-hide_banner", "-nostdin", "-nostats", "-v", "level+verbose",
            *CLOSED, "-max_pixels", str(self._limits.pixels), "-noautorotate",
            "-threads", str(threads), "-i", f"file:{self._path}", "-filter_threads", "1",
            "-max_error_rate", str(_MOST_ERRORS), "-map", f"0:{self._stream}", "-vf", self._filters,
            "-fps_mode", "passthrough", "-enc_time_base", "-1", "-c:v", "rawvideo",
            "-threads", "1", "-f", "tee",
            f"[f=rawvideo:flush_packets=1]pipe\\:1|[f=framecrc:flush_packets=1]pipe\\:{side}",
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Frame]:
        """Decode to the end. Raises a VideoError when ffmpeg fails or not one picture comes."""
        frames = 0
        with Pipes(self._process, self._times, frame_bytes=self.width * self.height) as pipes:
            for time, pixels in pipes.pictures(self._check):
                # A clock that runs backwards is damage; its pictures have no place in time.
                if frames and time <= self.end:
                    continue
                frames += 1
                self.end = time
                image = np.frombuffer(pixels, np.uint8).reshape(self.height, self.width)
                yield Frame(time, image)
            self._await_end()
            self.frames_decoded = pipes.complaints.frames_decoded
        failure = pipes.complaints.failure(
            self._process.returncode, path=self._path, limits=self._limits
        )
        if failure is not None:
            raise failure
        if frames == 0:
            raise UnreadableVideoError("not one picture could be decoded; the file is damaged")

    def share_read(self) -> float:
        """Return the share (0 to 1) of the file that ffmpeg has read; 0 when nobody can tell."""
        with contextlib.suppress(OSError, ValueError):  # ended meanwhile, or no /proc
            whole = self._path.stat()
            for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
                if os.path.samestat(link.stat(), whole):
                    facts = (link.parent.parent / "fdinfo" / link.name).read_text(encoding="ascii")
                    return int(facts.split()[1]) / whole.st_size  # proc(5): "pos:" comes first
        return 0.0

    def _await_end(self) -> None:
        while True:
            try:
                self._process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._check()
            else:
                return


def _filters(
    region: Region, *, size: tuple[int, int], upright: Sequence[str], rate: Fraction
) -> str:
    """Choose pictures by time, then crop, scale, grey and turn them, cheapest first."""
    # The first picture of each interval of 1/rate; the small term absorbs rounding of `t`.
    cell, last = (f"floor({name}*{float(rate)}+1e-3)" for name in ("t", "prev_selected_t"))
    steps = [f"select='isnan(prev_selected_t)+not(eq({cell},{last}))'"]
    if region != WHOLE_PICTURE:
        # In shares, so that a picture size that changes on the way is cropped alike.
        steps.append(
            f"crop=max(1\\,iw*{region.width:.6f}):max(1\\,ih*{region.height:.6f})"
            f":iw*{region.x:.6f}:ih*{region.y:.6f}"
        )
    steps += [f"scale={size[0]}:{size[1]}:flags=area", "format=gray", *upright]
    return ",".join(steps)
