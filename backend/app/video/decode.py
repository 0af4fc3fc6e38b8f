"""Decode a file into timestamped grey frames with ffmpeg, in constant memory.

    file → ffmpeg: decode, set the clock, select ─ crop, scale, grey, rotate → pixels (stdout)
                                                 │                           → exact times (a pipe)
                                                 └ scale, rotate → small colour pictures (a pipe)

One `tee` muxer writes the first two, so every frame has its own time in ticks of the stream's time
base, and variable frame rates are handled by construction. ffmpeg decodes ahead while the caller
processes a frame, until the pipes are full.
"""

import contextlib
import math
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from app.video.errors import UnreadableVideoError
from app.video.inputs import open_input, tone_mapping
from app.video.options import WHOLE_FRAME, Limits, Region, Tools
from app.video.pipes import Pipes
from app.video.probe import Probe
from app.video.process import POLL_S, memory_limit_error, start
from app.video.stderr import MAX_ERROR_RATE

GreyImage = npt.NDArray[np.uint8]
ColourImage = npt.NDArray[np.uint8]

# Motion is detected on frames of about this size, whatever the size of the video.
WORKING_PIXELS = 288 * 162
MAX_SIDE = 1024
_MAX_THREADS = 8
# Where a frame is made this many times smaller, averages hide the edges of blocks in it.
_AVERAGED = 4
# ffmpeg filters by clockwise rotation in degrees.
_ROTATIONS = {0: (), 90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}


@dataclass(frozen=True)
class Frame:
    """One frame: grey, scaled, upright, with its exact presentation time in seconds."""

    time: Fraction
    image: GreyImage
    picture: ColourImage | None = None
    """The same moment in colour (BGR), upright, with square pixels, whatever the region."""


def working_size(width: int, height: int) -> tuple[int, int]:
    """Return the size at which a frame is analysed: both sides at least 2, never enlarged."""
    scale = min(1.0, math.sqrt(WORKING_PIXELS / (width * height)), MAX_SIDE / max(width, height))
    return max(2, round(width * scale)), max(2, round(height * scale))


def to_coded(region: Region, *, rotation: int, mirrored: bool = False) -> Region:
    """Convert a region of the upright frame to the frame as encoded."""
    rotated = _rotate_back(region, rotation=rotation)
    if not mirrored:
        return rotated
    return Region(max(0.0, 1 - rotated.x - rotated.width), rotated.y, rotated.width, rotated.height)


def _rotate_back(region: Region, *, rotation: int) -> Region:
    x, y, width, height = region.x, region.y, region.width, region.height
    if rotation == 90:
        return Region(y, max(0.0, 1 - x - width), height, width)
    if rotation == 180:
        return Region(max(0.0, 1 - x - width), max(0.0, 1 - y - height), width, height)
    if rotation == 270:
        return Region(max(0.0, 1 - y - height), x, height, width)
    return region


class FrameSource:
    """Iterate over the frames of one file, at most `rate` per second, inside a `with` block.

    `check` is called for every frame and at least ten times a second, and may raise to abort.
    ffmpeg is stopped when the block ends, however it ends. `frames_decoded` is known after the
    iteration, `end` (time of the latest frame) at any time.
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
        picture_width: int = 0,
    ) -> None:
        self._path = path
        self._check = check
        self._limits = limits
        coded = to_coded(region or WHOLE_FRAME, rotation=probe.rotation, mirrored=probe.mirrored)
        watched = max(1, round(probe.width * coded.width))
        width, height = working_size(watched, max(1, round(probe.height * coded.height)))
        sideways = probe.rotation in {90, 270}
        self.width, self.height = (height, width) if sideways else (width, height)
        upright = (*(("hflip",) if probe.mirrored else ()), *_ROTATIONS[probe.rotation])
        self.picture_size = _picture_size(probe, picture_width)
        options = self._options(averaged=watched >= _AVERAGED * width)
        self._input = open_input(path, facts=probe, tools=tools, limits=limits, options=options)
        head = f"[0:{probe.index}]{self._input.video_filter},{_selection(rate)}"
        grey = ",".join([*_grey(coded, size=(width, height)), *upright])
        if picture_width:
            size = self.picture_size[::-1] if sideways else self.picture_size
            colour = ",".join([*_colour(probe, size=size), *upright])
            self._graph = f"{head},split[a][b];[a]{grey}[grey];[b]{colour}[colour]"
        else:
            self._graph = f"{head},{grey}[grey]"
        self.frames_decoded = 0
        self.damages = 0
        self.log: str | None = None
        self.end = Fraction(0)

    def __enter__(self) -> Self:
        """Start ffmpeg. Raise ToolError if it cannot be started."""
        self._times, times_in = os.pipe()
        self._pictures, pictures_in = os.pipe()
        try:
            command = self._command(times_in=times_in, pictures_in=pictures_in)
            self._process = start(
                command,
                limits=self._limits,
                read=(self._path,),
                pass_fds=(times_in, pictures_in),
            )
        except BaseException:
            os.close(self._times)
            os.close(self._pictures)
            raise
        finally:
            os.close(times_in)
            os.close(pictures_in)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop ffmpeg."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._times)
        os.close(self._pictures)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    @staticmethod
    def _options(*, averaged: bool) -> tuple[str, ...]:
        # Only decoding benefits from threads; each costs memory, and by default every stage starts
        # one per core. Our own filters apply the display matrix, because rotating small grey frames
        # is cheap.
        threads = min(_MAX_THREADS, len(os.sched_getaffinity(0)) + 1)
        options = ("-nostats", "-v", "level+verbose", "-noautorotate", "-threads", str(threads))
        # Frames to which no other refers are not deblocked.
        return (*options, "-skip_loop_filter", "noref") if averaged else options

    def _command(self, *, times_in: int, pictures_in: int) -> list[str]:
        command = [
            *self._input.arguments, "-filter_threads", "1", "-filter_complex_threads", "1",
            "-max_error_rate", str(MAX_ERROR_RATE), "-filter_complex", self._graph,
            "-map", "[grey]", "-fps_mode", "passthrough", "-enc_time_base", "-1",
            "-c:v", "rawvideo", "-threads", "1", "-f", "tee",
            f"[f=rawvideo:flush_packets=1]pipe\\:1|[f=framecrc:flush_packets=1]pipe\\:{times_in}",
        ]  # fmt: skip
        if "[colour]" in self._graph:
            command += ["-map", "[colour]", "-fps_mode", "passthrough", "-c:v", "rawvideo",
                        "-threads", "1", "-f", "rawvideo", f"pipe:{pictures_in}"]  # fmt: skip
        return command

    def __iter__(self) -> Iterator[Frame]:
        """Decode to the end. Raise a VideoError if ffmpeg fails or decodes no frame."""
        frames = 0
        width, height = self.picture_size
        with Pipes(
            self._process,
            self._times,
            frame_bytes=self.width * self.height,
            pictures=self._pictures,
            picture_bytes=3 * width * height,
        ) as pipes:

            def check() -> None:
                self._check()
                if pipes.log.endless:
                    raise memory_limit_error(self._limits)

            for time, pixels, colours in pipes.frames(check):
                # Timestamps that go backwards are damage; drop these frames.
                if frames and time <= self.end:
                    continue
                frames += 1
                self.end = time
                image = np.frombuffer(pixels, np.uint8).reshape(self.height, self.width)
                picture = None
                if colours is not None:
                    picture = np.frombuffer(colours, np.uint8).reshape(height, width, 3)
                yield Frame(time, image, picture)
            self._await_end()
        log = pipes.log
        self.frames_decoded, self.damages = log.frames_decoded, log.damages
        self.log = log.last_errors(path=self._path)
        failure = log.failure(self._process.returncode, path=self._path, limits=self._limits)
        if failure is not None:
            raise failure
        if frames == 0:
            raise UnreadableVideoError(
                "no frame could be decoded; the file is damaged", log=self.log
            )

    def share_read(self) -> float:
        """Return the share (0 to 1) of the file that ffmpeg has read, or 0 if unknown."""
        with contextlib.suppress(OSError, ValueError):  # ffmpeg has exited, or there is no /proc
            file = self._path.stat()
            for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
                if os.path.samestat(link.stat(), file):
                    info = (link.parent.parent / "fdinfo" / link.name).read_text(encoding="ascii")
                    return int(info.split()[1]) / file.st_size  # proc(5): "pos:" comes first
        return 0.0

    def _await_end(self) -> None:
        while True:
            try:
                self._process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._check()
            else:
                return


def _picture_size(probe: Probe, width: int) -> tuple[int, int]:
    if not width:
        return 0, 0
    shown_width, shown_height = probe.display_size
    return width, max(2, min(MAX_SIDE, round(width * shown_height / shown_width)))


def _selection(rate: Fraction) -> str:
    # Select the first frame of each interval of 1/rate; the small term absorbs rounding of `t`.
    cell, last = (f"floor({name}*{float(rate)}+1e-3)" for name in ("t", "prev_selected_t"))
    return f"select='isnan(prev_selected_t)+not(eq({cell},{last}))'"


def _grey(region: Region, *, size: tuple[int, int]) -> Iterator[str]:
    if region != WHOLE_FRAME:
        # Relative, so that frames whose size changes midway are cropped alike.
        yield (
            f"crop=max(1\\,iw*{region.width:.6f}):max(1\\,ih*{region.height:.6f})"
            f":iw*{region.x:.6f}:ih*{region.y:.6f}"
        )
    yield f"scale={size[0]}:{size[1]}:flags=area"
    yield "format=gray"


def _colour(probe: Probe, *, size: tuple[int, int]) -> Iterator[str]:
    yield f"scale={size[0]}:{size[1]}:flags=area"
    if probe.hdr:
        yield tone_mapping("gbrp")
    yield "format=bgr24"
