"""A point in time by which an operation with many steps has to be complete.

A timeout of a socket covers one call, and a server that sends a byte now and then satisfies it
forever. So a deadline is passed through all steps, and each call gets the time that is left.
"""

import io
import socket
import threading
import time
from typing import Any

# Lookups that may run at a time, including those that nobody waits for any more: the resolver
# cannot be interrupted, and gives up by itself after resolv.conf's timeouts.
MAX_LOOKUPS = 16
_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


class Deadline:
    """The end of an operation."""

    def __init__(self, seconds: float) -> None:
        """Begin now."""
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return how many seconds are left. Raise TimeoutError if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def resolve(host: str, port: int, *, deadline: Deadline) -> list[Any]:
    """Return what `socket.getaddrinfo` does. Raise OSError, also after the deadline."""
    if not _lookups.acquire(timeout=deadline.remaining()):
        raise TimeoutError("timed out")
    found: list[Any] = []
    failures: list[Exception] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)
        finally:
            _lookups.release()

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    try:
        thread.start()
    except BaseException:
        _lookups.release()
        raise
    thread.join(deadline.remaining())
    if failures:
        raise failures[0]
    deadline.remaining()
    return found


class TimedSocket:
    """A connected socket for `http.client` whose calls all end by a deadline."""

    def __init__(self, connection: socket.socket, *, deadline: Deadline, idle: float) -> None:
        """Let each call wait for at most `idle` seconds, and none beyond the deadline."""
        self._connection = connection
        self._deadline = deadline
        self._idle = idle

    def limit(self) -> None:
        """Limit the next call of the socket. Raise TimeoutError after the deadline."""
        self._connection.settimeout(min(self._deadline.remaining(), self._idle))

    def sendall(self, data: bytes) -> None:
        """Send all data; it is short, and the kernel takes it at once or within the time."""
        self.limit()
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader of what arrives."""
        assert mode == "rb"  # noqa: S101 - what http.client asks for
        return io.BufferedReader(_Reader(self, self._connection))

    def close(self) -> None:
        """Do nothing: http.client closes a socket before it has read the response.

        Whoever made the socket closes it.
        """


class _Reader(io.RawIOBase):
    def __init__(self, timed: TimedSocket, connection: socket.socket) -> None:
        self._timed = timed
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._timed.limit()
        return self._connection.recv_into(buffer)
