"""Thumbnails and clips of stored videos: created by ffmpeg on first request, then cached as files.

The cache (`Storage.derived`) can be deleted at any time, and its size is bounded.
"""

import contextlib
import enum
import errno
import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from time import time_ns

from app.db import Database
from app.errors import (
    ConflictError,
    StorageFullError,
    UnavailableError,
    VideoNotFoundError,
)
from app.models import MotionEvent
from app.services import events, videos
from app.services.storage import Storage
from app.video import Box, Tools, cut_clip, thumbnail
from app.video.errors import ToolError, VideoError

CLIP_MARGIN_S = 1.0
# Requested times are rounded down to this grid, which bounds the number of thumbnails.
TIMES_PER_SECOND = 10
_LOCKS = 64
_POLL_S = 0.1
# Called ten times a second while a file is created; raises when it is no longer needed.
Checkpoint = Callable[[], None]


class Width(enum.IntEnum):
    """Available thumbnail widths in pixels."""

    SMALL = 160
    MEDIUM = 320
    LARGE = 640


class Media:
    """Create and cache thumbnails and clips."""

    def __init__(
        self, *, database: Database, storage: Storage, tools: Tools, cache_bytes: int
    ) -> None:
        """Store the dependencies; open nothing."""
        self._database = database
        self._storage = storage
        self._tools = tools
        self._cache_bytes = cache_bytes
        # Concurrent requests create a file once; different files rarely share a lock.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def video_thumbnail(
        self, video_id: uuid.UUID, *, time: float | None, width: Width, checkpoint: Checkpoint
    ) -> Path:
        """Return a JPEG of the frame at `time` (seconds), by default one near the start.

        Raise VideoNotFoundError, ConflictError (no such frame), StorageFullError or
        UnavailableError.
        """
        with self._database.reading() as session:
            stored = videos.get(session, video_id=video_id).video
        if time is None:
            time = min(1.0, (stored.duration or 0.0) / 10)
        ticks = math.floor(time * TIMES_PER_SECOND)
        moment = Fraction(ticks, TIMES_PER_SECOND)
        return self._get_or_create(
            video_id,
            f"{ticks}-{width.value}.jpg",
            lambda target: self._write_thumbnail(
                video_id, target, time=moment, width=width, box=None, checkpoint=checkpoint
            ),
            checkpoint,
        )

    def event_thumbnail(self, event_id: uuid.UUID, *, width: Width, checkpoint: Checkpoint) -> Path:
        """Return a JPEG of the event's peak. Raise EventNotFoundError, or as `video_thumbnail`."""
        with self._database.reading() as session:
            found = events.get(session, event_id=event_id)
        event, video_id = found.event, found.video.id
        return self._get_or_create(
            video_id,
            f"{event_id}-{width.value}.jpg",
            lambda target: self._write_thumbnail(
                video_id,
                target,
                time=_exact(event.peak_time),
                width=width,
                box=_peak_box(event),
                checkpoint=checkpoint,
            ),
            checkpoint,
        )

    def event_clip(self, event_id: uuid.UUID, *, checkpoint: Checkpoint) -> Path:
        """Return an MP4 of the event with CLIP_MARGIN_S around it. Raise as `event_thumbnail`."""
        with self._database.reading() as session:
            found = events.get(session, event_id=event_id)
        event, source = found.event, self._storage.path(found.video.id)
        start = _exact(max(0.0, event.start_time - CLIP_MARGIN_S))
        end = _exact(event.end_time + CLIP_MARGIN_S)
        return self._get_or_create(
            found.video.id,
            f"{event_id}.mp4",
            lambda target: cut_clip(
                source,
                tools=self._tools,
                start=start,
                end=end,
                target=target,
                checkpoint=checkpoint,
            ),
            checkpoint,
        )

    def discard(self, video_id: uuid.UUID, *, event_ids: Sequence[uuid.UUID]) -> None:
        """Delete the cached files of these events."""
        for event_id in event_ids:
            for name in (f"{event_id}.mp4", *(f"{event_id}-{width.value}.jpg" for width in Width)):
                self._storage.derived(video_id, name).unlink(missing_ok=True)

    def _write_thumbnail(
        self,
        video_id: uuid.UUID,
        target: Path,
        *,
        time: Fraction,
        width: Width,
        box: Box | None,
        checkpoint: Checkpoint,
    ) -> None:
        jpeg = thumbnail(
            self._storage.path(video_id),
            tools=self._tools,
            time=time,
            width=width.value,
            box=box,
            checkpoint=checkpoint,
        )
        target.write_bytes(jpeg)

    def _get_or_create(
        self,
        video_id: uuid.UUID,
        name: str,
        create: Callable[[Path], None],
        checkpoint: Checkpoint,
    ) -> Path:
        target = self._storage.derived(video_id, name)
        with _acquired(self._locks[hash(target) % _LOCKS], checkpoint):
            with contextlib.suppress(FileNotFoundError):
                # The least recently used files are evicted first; the other time is a validator.
                os.utime(target, ns=(time_ns(), target.stat().st_mtime_ns))
                return target
            temporary = self._storage.incoming()
            try:
                create(temporary)
                self._storage.keep_derived(temporary, target)
            except ToolError as error:
                raise UnavailableError(
                    "Thumbnails and clips are unavailable right now; try again."
                ) from error
            except VideoError as error:
                if os.strerror(errno.ENOSPC) in str(error):
                    raise StorageFullError("Not enough disk space to create this file.") from error
                raise ConflictError(f"The file cannot be created: {error}.") from error
            finally:
                temporary.unlink(missing_ok=True)
        if not self._storage.path(video_id).exists():  # deleted in the meantime
            self._storage.discard_derived(video_id)
            raise VideoNotFoundError(f"Video {video_id} does not exist.")
        self._storage.trim_derived(self._cache_bytes)
        return target


@contextlib.contextmanager
def _acquired(lock: threading.Lock, checkpoint: Checkpoint) -> Iterator[None]:
    checkpoint()
    while not lock.acquire(timeout=_POLL_S):
        checkpoint()
    try:
        yield
    finally:
        lock.release()


def _exact(seconds: float) -> Fraction:
    return Fraction(repr(seconds))


def _peak_box(event: MotionEvent) -> Box | None:
    """Return the largest box at the event's peak, or at the time closest to it."""
    if not event.boxes:
        return None
    found = min(
        event.boxes,
        key=lambda box: (abs(box["time"] - event.peak_time), -box["width"] * box["height"]),
    )
    return Box(
        time=_exact(found["time"]),
        x=found["x"],
        y=found["y"],
        width=found["width"],
        height=found["height"],
    )
