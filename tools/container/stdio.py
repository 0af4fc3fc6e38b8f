"""Carry the standard streams of a container's process between it and the caller's descriptors.

The process never holds a descriptor of the caller's: through one it could truncate a log file, read
what is typed into a terminal, or type there itself. It gets pipes instead and, for descriptors that
are terminals, one terminal of the container's own, so that colours, window size and Ctrl-C work.

    streams = Streams((0, 1, 2), owner=container.host_id)
    master = start somehow(streams.pipes, streams.terminal)
    streams.begin(master)
    ...
    streams.finish()              # once the process has ended: what it wrote arrives

One thread a stream, because a caller's descriptor may block and must not be made non-blocking: that
would be seen by every program which shares it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
import tty
from collections.abc import Callable
from typing import Any

CHUNK = 1 << 16
TERMINAL_LINGER_MS = 200  # What was written to a terminal reaches its other end a moment later.
_SIZE = struct.Struct("4H")


class Streams:
    """The standard streams of one process.

    `outer` are the caller's descriptors, `owner` is the process's user as the host sees it.
    """

    def __init__(self, outer: tuple[int, int, int], *, owner: int) -> None:
        self._outer = tuple(os.dup(handle) for handle in outer)  # The caller may close its own.
        self._on_terminal = [index for index in range(3) if os.isatty(outer[index])]
        self.pipes: list[int] = []  # the process's ends, of those that are not on the terminal
        self._ours: dict[int, int] = {}
        for index in range(3):
            if index not in self._on_terminal:
                read, write = owned_pipe(owner)
                self._ours[index], inner = (read, write) if index else (write, read)
                self.pipes.append(inner)
        self._stop_read, self._stop_write = os.pipe()
        self._threads: list[threading.Thread] = []
        self._master = -1
        self._settings: list[Any] | None = None

    @property
    def terminal(self) -> dict[str, Any] | None:
        """What PID 1 needs to know to open a terminal; None if there is to be none."""
        if not self._on_terminal:
            return None
        rows, columns = _SIZE.unpack(self._size())[:2]
        # If the input is not a terminal, the caller's one keeps ending lines with CR LF itself.
        raw = 0 not in self._on_terminal
        return {"on": self._on_terminal, "rows": rows, "columns": columns, "raw": raw}

    def begin(self, master: int = -1) -> None:
        """Start to carry for the process, which has started; `master` is its terminal's end."""
        self._close_pipes()
        self._master = master
        if 0 in self._on_terminal:
            with contextlib.suppress(termios.error):
                self._settings = termios.tcgetattr(self._outer[0])
                tty.setraw(self._outer[0])
        for index in range(3):
            if index in self._ours:
                self._run(self._feed if index == 0 else self._drain, index)
        if self._on_terminal:
            if 0 in self._on_terminal:
                self._run(self._feed, 0)
            self._run(self._drain, next((i for i in self._on_terminal if i), 0))

    def resize(self) -> bool:
        """Give the process's terminal the size of the caller's; return False if it has none."""
        if self._master < 0:
            return False
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, self._size())
        return True

    def finish(self, timeout: float | None = None) -> None:
        """Carry what is left of the output, and put the caller's terminal back in order."""
        os.close(self._stop_write)
        for thread in self._threads:
            thread.join(timeout)
        self._close_pipes()
        if self._settings is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._outer[0], termios.TCSADRAIN, self._settings)
        if not any(thread.is_alive() for thread in self._threads):
            left = [self._outer[index] for index in self._on_terminal]
            if not self._threads:  # The process never started: no thread has closed these.
                left += [self._outer[index] for index in self._ours] + list(self._ours.values())
            master = [self._master] if self._master >= 0 else []
            for handle in (self._stop_read, *master, *left):
                os.close(handle)

    def _run(self, carry: Callable[[int], None], index: int) -> None:
        thread = threading.Thread(target=carry, args=(index,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _close_pipes(self) -> None:
        while self.pipes:
            os.close(self.pipes.pop())

    def _size(self) -> bytes:
        with contextlib.suppress(OSError):
            outer = self._outer[self._on_terminal[-1]]
            return bytes(fcntl.ioctl(outer, termios.TIOCGWINSZ, bytes(_SIZE.size)))
        return _SIZE.pack(24, 80, 0, 0)

    def _feed(self, index: int) -> None:
        """Carry the caller's input until its end, the process's, or `finish`."""
        target = self._ours.get(index, self._master)
        try:
            if index in self._ours:
                os.set_blocking(target, False)
            while _ready(self._outer[0], select.POLLIN, self._stop_read):
                data = memoryview(os.read(self._outer[0], CHUNK))
                if not data:
                    break
                while data and _ready(target, select.POLLOUT, self._stop_read):
                    data = data[os.write(target, data) :]
        except OSError:
            pass  # The process closed its input, or there is none.
        finally:
            if index in self._ours:
                os.close(target)
                os.close(self._outer[index])

    def _drain(self, index: int) -> None:
        """Carry output until its end; after `finish` only what there is."""
        piped = index in self._ours
        source = self._ours.get(index, self._master)
        outer: int | None = self._outer[index]
        try:
            while _ready(source, select.POLLIN, self._stop_read) or _ready(
                source, select.POLLIN, linger=0 if piped else TERMINAL_LINGER_MS
            ):
                data = os.read(source, CHUNK)
                if not data:
                    break
                try:
                    if outer is not None:
                        _write(outer, data)
                except OSError:
                    # Nobody reads: a pipe's writer learns it as it would without us.
                    if piped:
                        break
                    outer = None
        except OSError:
            pass  # EIO: nothing has the terminal open any more.
        finally:
            if piped:
                os.close(source)
                os.close(self._outer[index])


def owned_pipe(owner: int) -> tuple[int, int]:
    """Return a pipe that processes of a user can open again, by names such as /dev/stdout."""
    read, write = os.pipe()
    if owner != os.geteuid():
        os.fchown(read, owner, owner)
    return read, write


def _ready(handle: int, event: int, stop: int | None = None, *, linger: int | None = None) -> bool:
    """Wait until `handle` is ready; return False if `stop` or the end of `linger` comes first."""
    poller = select.poll()
    poller.register(handle, event)
    if stop is not None:
        poller.register(stop, select.POLLIN)
    return any(ready == handle for ready, _ in poller.poll(linger))


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(handle, view) :]
        except BlockingIOError:
            _ready(handle, select.POLLOUT)
