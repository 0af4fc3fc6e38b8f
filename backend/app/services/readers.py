"""Who is reading a video at the moment, in any process that shares DATA_DIR.

A response holds a lock on the video's file, which the kernel releases if the process dies, and
leaves the time at which it ended as the file's access time: players read a video in many requests,
with pauses in between.
"""

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator

from app.services.storage import Storage

# What was read this long ago is not being watched any more.
RECENTLY_S = 900.0


class Readers:
    """Locks on the files of videos; if retention is off, there are none."""

    def __init__(self, storage: Storage, *, enabled: bool) -> None:
        """Store the dependencies; open nothing."""
        self._storage = storage
        self._enabled = enabled

    @contextlib.contextmanager
    def reading(self, video_id: uuid.UUID) -> Iterator[None]:
        """Let retention leave the video alone until the block ends, and for a while after."""
        if not self._enabled:
            yield
            return
        try:
            file = os.open(self._storage.path(video_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # whoever reads it reports that
            yield
            return
        try:
            with contextlib.suppress(BlockingIOError):  # it is just being removed
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _touch(file)
            try:
                yield
            finally:
                _touch(file)
        finally:
            os.close(file)

    @contextlib.contextmanager
    def excluded(self, video_id: uuid.UUID) -> Iterator[bool]:
        """Yield whether nobody reads the video, or has just done so."""
        try:
            # For writing, as an exclusive lock on NFS requires.
            file = os.open(self._storage.path(video_id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield not 0 <= time.time() - os.fstat(file).st_atime < RECENTLY_S
        except BlockingIOError:
            yield False
        finally:
            os.close(file)


def _touch(file: int) -> None:
    # Explicitly: most file systems do it once a day or never. The other time is a validator.
    with contextlib.suppress(OSError):
        os.utime(file, ns=(time.time_ns(), os.fstat(file).st_mtime_ns))
