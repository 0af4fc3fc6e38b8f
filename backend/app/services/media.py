"""Thumbnails, clips and previews of stored videos.

Those that lists show are stored by the analysis (`Storage.kept`): serving them runs no program.
Others are created by ffmpeg on first request, then cached as files. The cache (`Storage.derived`)
can be deleted at any time, and its size is bounded.
"""

import contextlib
import enum
import errno
import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import time, time_ns

from app.db import Database
from app.errors import (
    ConflictError,
    StorageFullError,
    UnavailableError,
    VideoNotFoundError,
)
from app.models import MotionEvent
from app.services import events, facts, videos
from app.services.pictures import PREVIEW, event_picture, video_picture
from app.services.storage import Storage
from app.video import Box, Probe, Tools, cut_clip, probe, thumbnail
from app.video.errors import (
    MemoryLimitError,
    TimeLimitError,
    ToolError,
    VideoError,
    VideoTooBigError,
)
from app.video.options import DEFAULT_LIMITS, Limits

CLIP_MARGIN_S = 1.0
# Requested times are rounded down to this grid, which bounds the number of thumbnails.
TIMES_PER_SECOND = 10
# What failed is not tried again for so long, by no process.
FAILURE_LIFETIME_S = 3600.0
_LOCKS = 64
_POLL_S = 0.1
# Called ten times a second while a file is created; raises when it is no longer needed.
Checkpoint = Callable[[], None]


class Width(enum.IntEnum):
    """Available thumbnail widths in pixels."""

    SMALL = 160
    MEDIUM = 320
    LARGE = 640


@dataclass(frozen=True)
class Wanted:
    """A picture or clip: where it may lie already, and how to create it."""

    video_id: uuid.UUID
    name: str
    """Of the file in the cache."""
    create: Callable[[Path, Checkpoint], None]
    kept: str | None = None
    """Name of the file that the analysis stores."""
    kind: str = "pictures"
    """What is not tried again for a while after one of its kind has taken too long."""


class Media:
    """Find, create and cache thumbnails and clips."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        tools: Tools,
        cache_bytes: int,
        picture_limits: Limits = DEFAULT_LIMITS,
        clip_limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Store the dependencies; open nothing."""
        self._picture_limits = picture_limits
        self._clip_limits = clip_limits
        self._database = database
        self._storage = storage
        self._tools = tools
        self._cache_bytes = cache_bytes
        # Concurrent requests create a file once; different files rarely share a lock.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def video_thumbnail(self, video_id: uuid.UUID, *, time: float | None, width: Width) -> Wanted:
        """Return the JPEG of the frame at `time` (seconds), by default one near the start.

        Raise VideoNotFoundError.
        """
        with self._database.reading() as session:
            stored = videos.get(session, video_id=video_id).video
        kept = video_picture(width.value) if time is None else None
        if time is None:
            time = min(1.0, (stored.duration or 0.0) / 10)
        # All times after the end show the last frame.
        ticks = math.floor(min(time, stored.duration or time) * TIMES_PER_SECOND)
        moment = Fraction(ticks, TIMES_PER_SECOND)

        def create(target: Path, checkpoint: Checkpoint) -> None:
            self._write_thumbnail(
                video_id, target, time=moment, width=width, box=None, checkpoint=checkpoint
            )

        return Wanted(video_id, f"{ticks}-{width.value}.jpg", create, kept)

    def event_thumbnail(self, event_id: uuid.UUID, *, width: Width) -> Wanted:
        """Return the JPEG of the event's peak. Raise EventNotFoundError."""
        with self._database.reading() as session:
            found = events.get(session, event_id=event_id)
        event, video_id = found.event, found.video.id

        def create(target: Path, checkpoint: Checkpoint) -> None:
            self._write_thumbnail(
                video_id,
                target,
                time=_exact(event.peak_time),
                width=width,
                box=_peak_box(event),
                checkpoint=checkpoint,
            )

        kept = event_picture(event.analysis_id, event.position, width.value)
        return Wanted(video_id, f"{event_id}-{width.value}.jpg", create, kept)

    def event_clip(self, event_id: uuid.UUID) -> Wanted:
        """Return the MP4 of the event with CLIP_MARGIN_S around it. Raise EventNotFoundError."""
        with self._database.reading() as session:
            found = events.get(session, event_id=event_id)
        event, video_id = found.event, found.video.id

        def create(target: Path, checkpoint: Checkpoint) -> None:
            cut_clip(
                self._storage.path(video_id),
                tools=self._tools,
                start=_exact(max(0.0, event.start_time - CLIP_MARGIN_S)),
                end=_exact(event.end_time + CLIP_MARGIN_S),
                target=target,
                facts=self._facts(video_id),
                limits=self._clip_limits,
                checkpoint=checkpoint,
            )

        return Wanted(video_id, f"{event_id}.mp4", create, kind="clips")

    def preview(self, video_id: uuid.UUID) -> Path:
        """Return the copy of a video that every browser plays.

        Raise VideoNotFoundError, also if there is no such copy.
        """
        with self._database.reading() as session:
            videos.get(session, video_id=video_id)
        path = self._storage.kept(video_id, PREVIEW)
        if not path.exists():
            raise VideoNotFoundError(f"Video {video_id} has no preview.")
        return path

    def find(self, wanted: Wanted) -> Path | None:
        """Return the file if it exists already, without waiting for anything."""
        if wanted.kept is not None:
            kept = self._storage.kept(wanted.video_id, wanted.kept)
            if kept.exists():
                return kept
        target = self._storage.derived(wanted.video_id, wanted.name)
        with contextlib.suppress(FileNotFoundError):
            # The least recently used files are evicted first; the other time is a validator.
            os.utime(target, ns=(time_ns(), target.stat().st_mtime_ns))
            return target
        return None

    def _facts(self, video_id: uuid.UUID) -> Probe:
        """Return what is known about a file; probe it if its row is of an older version."""
        with self._database.reading() as session:
            known = facts.load(session, video_id=video_id)
        if known is None:
            known = probe(self._storage.path(video_id), tools=self._tools)
            with self._database.writing() as session:
                facts.store(session, video_id=video_id, facts=known)
        return known

    def discard(
        self, video_id: uuid.UUID, *, analysis_id: uuid.UUID, event_ids: Sequence[uuid.UUID]
    ) -> None:
        """Delete the files of an analysis and its events."""
        for event_id in event_ids:
            for name in (f"{event_id}.mp4", *(f"{event_id}-{width.value}.jpg" for width in Width)):
                self._storage.derived(video_id, name).unlink(missing_ok=True)
        self._storage.discard_kept(video_id, prefix=f"{analysis_id}-")

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
            facts=self._facts(video_id),
            limits=self._picture_limits,
            checkpoint=checkpoint,
        )
        target.write_bytes(jpeg)

    def create(self, wanted: Wanted, *, checkpoint: Checkpoint) -> Path:
        """Create the file, unless another request has done so in the meantime.

        Raise ConflictError (no such frame), StorageFullError, UnavailableError, or
        VideoNotFoundError if the video is deleted meanwhile.
        """
        video_id = wanted.video_id
        target = self._storage.derived(video_id, wanted.name)
        with _acquired(self._locks[hash(target) % _LOCKS], checkpoint):
            found = self.find(wanted)
            if found is not None:
                return found
            self._raise_known_failure(wanted)
            temporary = self._storage.incoming()
            try:
                wanted.create(temporary, checkpoint)
                self._storage.keep_derived(temporary, target)
            except ToolError as error:
                raise UnavailableError(
                    "Thumbnails and clips are unavailable right now; try again."
                ) from error
            except VideoError as error:
                if os.strerror(errno.ENOSPC) in f"{error} {error.log}":
                    raise StorageFullError("Not enough disk space to create this file.") from error
                reason = f"The file cannot be created: {error}."
                costly = isinstance(error, TimeLimitError | MemoryLimitError | VideoTooBigError)
                self._remember(wanted.video_id, wanted.kind if costly else wanted.name, reason)
                raise ConflictError(reason) from error
            finally:
                temporary.unlink(missing_ok=True)
        if not self._storage.path(video_id).exists():  # deleted in the meantime
            self._storage.discard_derived(video_id)
            raise VideoNotFoundError(f"Video {video_id} does not exist.")
        self._storage.trim_derived(self._cache_bytes)
        return target

    def _raise_known_failure(self, wanted: Wanted) -> None:
        """Raise ConflictError if the same has failed, or something like it was too much."""
        for name in (wanted.kind, wanted.name):
            path = self._failure(wanted.video_id, name)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime > time() - FAILURE_LIFETIME_S:
                    raise ConflictError(path.read_text(encoding="utf-8"))

    def _remember(self, video_id: uuid.UUID, name: str, reason: str) -> None:
        """Let no process try this again for a while. The file is part of the cache."""
        temporary = self._storage.incoming()
        try:
            temporary.write_text(reason, encoding="utf-8")
            self._storage.keep_derived(temporary, self._failure(video_id, name))
        except OSError:  # a full disk: it will be tried again
            temporary.unlink(missing_ok=True)

    def _failure(self, video_id: uuid.UUID, name: str) -> Path:
        return self._storage.derived(video_id, f"{name}.failed")


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
