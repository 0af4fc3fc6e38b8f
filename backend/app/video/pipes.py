"""Read ffmpeg's pixels, timestamps and log concurrently while it decodes."""

import contextlib
import fcntl
import os
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Self

from app.video.process import POLL_S
from app.video.stderr import FfmpegLog

_PIPE_BYTES = 1 << 20
# Frames of one pipe that wait for those of the other.
_WAITING = 4


class _Frames:
    """Frames of fixed size from one pipe; a few wait until their turn comes."""

    def __init__(self, descriptor: int, *, frame_bytes: int) -> None:
        self.descriptor = descriptor
        self.ready: deque[bytearray] = deque()
        self._frame_bytes = frame_bytes
        self._frame = bytearray(frame_bytes)
        self._filled = 0

    def read(self) -> bool:
        """Read what is there; return False if enough frames wait or the pipe has ended."""
        count = os.readv(self.descriptor, [memoryview(self._frame)[self._filled :]])
        self._filled += count
        if self._filled == self._frame_bytes:
            self.ready.append(self._frame)
            self._frame, self._filled = bytearray(self._frame_bytes), 0
        return count > 0 and len(self.ready) < _WAITING


class Pipes:
    """Pipes read by one thread, so that none can block another."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        times: int,
        *,
        frame_bytes: int,
        pictures: int | None = None,
        picture_bytes: int = 0,
    ) -> None:
        assert process.stdout is not None  # noqa: S101 - `start` creates pipes
        assert process.stderr is not None  # noqa: S101 - same
        self._frames = _Frames(process.stdout.fileno(), frame_bytes=frame_bytes)
        self._pictures: _Frames | None = None
        self._readers: dict[int, Callable[[], bool]] = {
            self._frames.descriptor: self._frames.read,
            times: self._read_times,
            process.stderr.fileno(): self._read_log,
        }
        if pictures is not None and picture_bytes:
            self._pictures = _Frames(pictures, frame_bytes=picture_bytes)
            self._readers[pictures] = self._pictures.read
        self._times_fd, self._stderr = times, process.stderr.fileno()
        self._times: deque[Fraction | None] = deque()
        self._line = b""
        self._tick = Fraction(0)
        self.log = FfmpegLog()

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        for descriptor in self._readers:
            self._selector.register(descriptor, selectors.EVENT_READ)
        # A larger pipe lets ffmpeg decode further ahead. If the user's pipe quota is exhausted, the
        # default size will do.
        for frames in filter(None, (self._frames, self._pictures)):
            with contextlib.suppress(OSError):
                fcntl.fcntl(frames.descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    def frames(
        self, check: Callable[[], None]
    ) -> Iterator[tuple[Fraction, bytearray, bytearray | None]]:
        """Yield each complete frame with its time and picture until all pipes have ended."""
        pictures = self._pictures
        while True:
            check()
            while self._frames.ready and self._times and (pictures is None or pictures.ready):
                frame, time = self._frames.ready.popleft(), self._times.popleft()
                picture = None if pictures is None else pictures.ready.popleft()
                if time is not None:
                    yield time, frame, picture
                for waiting in filter(None, (self._frames, pictures)):
                    self._register(waiting.descriptor)
            if not self._selector.get_map():
                return
            for key, _ in self._selector.select(POLL_S):
                if not self._readers[key.fd]():
                    self._selector.unregister(key.fd)

    def _register(self, descriptor: int) -> None:
        if descriptor not in self._selector.get_map():
            self._selector.register(descriptor, selectors.EVENT_READ)

    def _read_times(self) -> bool:
        data = os.read(self._times_fd, 1 << 16)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._read_time(line.decode("ascii", "replace"))
        return bool(data)

    def _read_time(self, line: str) -> None:
        # framecrc: "#tb 0: 1/15360" once, then "stream, dts, pts, duration, size, checksum".
        if line.startswith("#tb 0:"):
            self._tick = Fraction(line.partition(":")[2].strip())
        elif line and not line.startswith("#"):
            ticks = line.split(",")[2].strip()
            known = ticks.lstrip("-").isdigit()
            self._times.append(int(ticks) * self._tick if known else None)

    def _read_log(self) -> bool:
        data = os.read(self._stderr, 1 << 16)
        self.log.add(data)
        return bool(data)
