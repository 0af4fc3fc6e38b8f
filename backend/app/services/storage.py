"""Files of videos under DATA_DIR, named by ids only; a client's file name never touches the disk.

- `videos/ab/<uuid>`: stored content; ab are the last two digits, so that no folder grows large.
- `incoming/<uuid>.part`: uploads under way; renamed into place when complete.
- `derived/ab/<uuid>/`: thumbnails and clips of that video; a cache, deleted without loss.
- `incoming/<uuid>`: an empty mark beside content whose row is being added or removed.
- `reserve`: nothing, but on the disk; given up when it is so full that nothing can be deleted.

The mark is what makes a crash harmless. A later start looks at old marks only and asks the database
which side won. Content without a mark is never touched, so a service that is given the wrong
database by mistake deletes nothing.
"""

import contextlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

# Marks and uploads this old belong to a process that died; younger ones may be at work.
ORPHAN_AGE_S = 3600.0
# How often the size of the cache is looked at, at most.
TRIM_INTERVAL_S = 30.0
# More than SQLite writes to its log when it deletes a video with all its events.
RESERVE_BYTES = 1024 * 1024
_PART = ".part"


class Storage:
    """Where the bytes are. All paths lie on one file system, so a rename is atomic."""

    def __init__(self, data_dir: Path) -> None:
        """Remember the directory; `prepare` makes it usable."""
        self.root = data_dir
        self._videos = data_dir / "videos"
        self._incoming = data_dir / "incoming"
        self._derived = data_dir / "derived"
        self._reserve = data_dir / "reserve"
        self._trim_lock = threading.Lock()
        self._trimmed_at = -TRIM_INTERVAL_S

    def prepare(self) -> None:
        """Create the folders. Raises OSError when DATA_DIR cannot be written."""
        self._videos.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._derived.mkdir(parents=True, exist_ok=True)
        self.reserve()

    def reserve(self) -> None:
        """Set some room aside for deleting; without any left to set aside, do nothing."""
        with contextlib.suppress(OSError), self._reserve.open("ab") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            except OSError:
                # Half a reserve would only make the disk fuller.
                self._reserve.unlink(missing_ok=True)

    def give_up_reserve(self) -> None:
        """Make the reserved room available, to whoever is quickest."""
        self._reserve.unlink(missing_ok=True)

    def path(self, video_id: uuid.UUID) -> Path:
        """Return where the content of a video is, or would be."""
        return self._videos / video_id.hex[-2:] / str(video_id)

    def incoming(self) -> Path:
        """Return a fresh name for an upload; nothing is created."""
        return self._incoming / f"{uuid.uuid4()}{_PART}"

    def mark(self, video_id: uuid.UUID) -> None:
        """Note that the row of this content is about to be added or removed."""
        self._mark_path(video_id).touch()

    def settle(self, video_id: uuid.UUID) -> None:
        """Note that row and content agree again."""
        self._mark_path(video_id).unlink(missing_ok=True)

    def keep(self, temporary: Path, *, video_id: uuid.UUID) -> None:
        """Move a complete upload to its place, marked until `settle`."""
        self.mark(video_id)
        target = self.path(video_id)
        target.parent.mkdir(exist_ok=True)
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name itself must be on disk before the row that refers to it
        finally:
            os.close(folder)

    def delete(self, video_id: uuid.UUID) -> None:
        """Remove content and mark; what is gone already is fine."""
        # Whoever makes a thumbnail looks for the content afterwards, so it goes first.
        self.path(video_id).unlink(missing_ok=True)
        self.forget_derived(video_id)
        self.settle(video_id)

    def derived(self, video_id: uuid.UUID, name: str) -> Path:
        """Return where something made from a video is kept, or would be."""
        return self._derived_folder(video_id) / name

    def keep_derived(self, temporary: Path, target: Path) -> None:
        """Move something complete to the place that `derived` has named."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)

    def forget_derived(self, video_id: uuid.UUID) -> None:
        """Delete everything made from a video."""
        shutil.rmtree(self._derived_folder(video_id), ignore_errors=True)

    def trim_derived(self, limit: int) -> int:
        """Delete the least recently wanted files until `limit` bytes are left; return how many.

        Looks at most every TRIM_INTERVAL_S, so that a busy cache is not walked for each new file.
        """
        with self._trim_lock:
            now = time.monotonic()
            if now - self._trimmed_at < TRIM_INTERVAL_S:
                return 0
            self._trimmed_at = now
        files = []
        for path in self._derived.glob("*/*/*"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                files.append((found.st_mtime, found.st_size, path))
        total, deleted = sum(size for _, size, _ in files), 0
        for _, size, path in sorted(files):
            if total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= size
            deleted += 1
        return deleted

    def sweep(self, *, exists: Callable[[uuid.UUID], bool]) -> int:
        """Clear up after processes that died; `exists` tells whether a video has a row.

        Returns how many uploads and contents were deleted.
        """
        limit = time.time() - ORPHAN_AGE_S
        swept = 0
        for path in self._incoming.iterdir():
            # Another replica may be sweeping too.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime >= limit:
                    continue
                if path.suffix == _PART:
                    path.unlink()
                    swept += 1
                elif exists(video_id := uuid.UUID(path.name)):
                    self.settle(video_id)
                else:
                    self.delete(video_id)
                    swept += 1
        return swept

    def _derived_folder(self, video_id: uuid.UUID) -> Path:
        return self._derived / video_id.hex[-2:] / str(video_id)

    def _mark_path(self, video_id: uuid.UUID) -> Path:
        return self._incoming / str(video_id)
