"""Video files below DATA_DIR, named by ids only; client file names are never used as paths.

- `videos/ab/<uuid>`: stored content; ab are the last two digits, to keep directories small.
- `incoming/<uuid>.part`: uploads in progress; renamed into place when complete.
- `uploads/<uuid>`, `uploads/<uuid>.json`: resumable uploads (`app.services.uploads`).
- `derived/ab/<uuid>/`: thumbnails and clips of that video; a cache that can be deleted.
- `kept/ab/<uuid>/`: what an analysis stores with its results: pictures for lists, a preview.
- `incoming/<uuid>`: an empty mark for content whose row is being added or removed.
- `uploads.lock`: held while the unfinished uploads of a client are counted.
- `reserve`: preallocated space, released when a full disk would prevent deletions.

The marks make crashes harmless: a later sweep looks at old marks only and asks the database whether
the row exists. Content without a mark is never touched, so a service started with the wrong
database by mistake deletes nothing.
"""

import contextlib
import errno
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from app.services.private import tighten, tighten_root

# Marks and uploads this old belong to a dead process; younger ones may still be in use.
ORPHAN_AGE_S = 3600.0
# Minimum interval between checks of the cache size.
TRIM_INTERVAL_S = 30.0
# More than SQLite writes to its log to delete a video with all its events.
RESERVE_BYTES = 1024 * 1024
_PART = ".part"


class StorageUnusableError(Exception):
    """DATA_DIR cannot be created or is not writable; the message says why and what to do."""

    def __init__(self, root: Path, error: OSError) -> None:
        """Describe `error`, which occurred below `root`."""
        super().__init__(
            f"DATA_DIR: cannot write to {str(error.filename or root)!r}: {error.strerror}. Mount a "
            f"volume at {root} that user {os.geteuid()} can write to, or set DATA_DIR to such a "
            "directory."
        )


class Storage:
    """The files of the service. All paths are on one file system, so renames are atomic."""

    def __init__(self, data_dir: Path) -> None:
        """Store the directory; `prepare` makes it usable."""
        self.root = data_dir
        self._videos = data_dir / "videos"
        self._incoming = data_dir / "incoming"
        self._derived = data_dir / "derived"
        self._kept = data_dir / "kept"
        self.uploads = data_dir / "uploads"
        self._reserve = data_dir / "reserve"
        self._trim_lock = threading.Lock()
        self._trimmed_at = -TRIM_INTERVAL_S

    def prepare(self) -> None:
        """Create the directories, and make those of older versions private.

        Raise StorageUnusableError if DATA_DIR is not writable.
        """
        directories = (self._videos, self._incoming, self._derived, self._kept, self.uploads)
        try:
            for directory in directories:
                directory.mkdir(parents=True, exist_ok=True)
            # A full disk is no reason not to start, so nothing is written for this.
            for directory in (self.root, *directories):
                _check_writable(directory)
        except OSError as error:
            raise StorageUnusableError(self.root, error) from error
        for path in (*directories, self._reserve):
            tighten(path)
        tighten_root(self.root)
        self.allocate_reserve()

    def allocate_reserve(self) -> None:
        """Preallocate space for deletions; do nothing if there is not enough."""
        with contextlib.suppress(OSError), self._reserve.open("ab") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            except OSError:
                # A partial reserve would only make the disk fuller.
                self._reserve.unlink(missing_ok=True)

    def release_reserve(self) -> None:
        """Release the reserved space; other writers may take it first."""
        self._reserve.unlink(missing_ok=True)

    def path(self, video_id: uuid.UUID) -> Path:
        """Return the path of a video's content, whether or not it exists."""
        return self._videos / video_id.hex[-2:] / str(video_id)

    def incoming(self) -> Path:
        """Return a fresh path for an upload; create nothing."""
        return self._incoming / f"{uuid.uuid4()}{_PART}"

    def mark(self, video_id: uuid.UUID) -> None:
        """Mark content whose row is about to be added or removed."""
        self._mark_path(video_id).touch()

    def unmark(self, video_id: uuid.UUID) -> None:
        """Remove the mark: row and content are consistent again."""
        self._mark_path(video_id).unlink(missing_ok=True)

    def keep(self, temporary: Path, *, video_id: uuid.UUID) -> None:
        """Move a complete upload into place, marked until `unmark`."""
        self.mark(video_id)
        target = self.path(video_id)
        target.parent.mkdir(exist_ok=True)
        temporary.replace(target)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)  # the directory entry must be on disk before the row
        finally:
            os.close(directory)

    def delete(self, video_id: uuid.UUID) -> None:
        """Delete content, derived files and mark; missing ones are ignored."""
        # Content first, because thumbnail requests check for it after creating their file.
        self.path(video_id).unlink(missing_ok=True)
        self.discard_derived(video_id)
        self.discard_kept(video_id)
        self.unmark(video_id)

    def derived(self, video_id: uuid.UUID, name: str) -> Path:
        """Return the path of a file derived from a video, whether or not it exists."""
        return self._derived_directory(video_id) / name

    def keep_derived(self, temporary: Path, target: Path) -> None:
        """Move a complete file to a path returned by `derived`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)

    def discard_derived(self, video_id: uuid.UUID) -> None:
        """Delete everything derived from a video."""
        shutil.rmtree(self._derived_directory(video_id), ignore_errors=True)

    def kept(self, video_id: uuid.UUID, name: str) -> Path:
        """Return the path of a file stored with a video's results, whether or not it exists."""
        return self._kept / video_id.hex[-2:] / str(video_id) / name

    def discard_kept(self, video_id: uuid.UUID, *, prefix: str = "") -> None:
        """Delete the files stored with a video's results whose names begin with `prefix`."""
        directory = self._kept / video_id.hex[-2:] / str(video_id)
        if not prefix:
            shutil.rmtree(directory, ignore_errors=True)
            return
        with contextlib.suppress(FileNotFoundError):
            for path in list(directory.iterdir()):
                if path.name.startswith(prefix):
                    path.unlink(missing_ok=True)

    def trim_derived(self, limit: int) -> int:
        """Delete the least recently used files until at most `limit` bytes are left.

        Return the number of deleted files. Run at most every TRIM_INTERVAL_S, so that a busy cache
        is not walked for each new file.
        """
        with self._trim_lock:
            now = time.monotonic()
            if now - self._trimmed_at < TRIM_INTERVAL_S:
                return 0
            self._trimmed_at = now
        files = []
        for path in self._derived.glob("*/*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_atime, status.st_size, path))
        total, deleted = sum(size for _, size, _ in files), 0
        for _, size, path in sorted(files):
            if total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= size
            deleted += 1
        return deleted

    def sweep(self, *, exists: Callable[[uuid.UUID], bool]) -> int:
        """Clean up after dead processes; `exists` returns whether a video has a row.

        Return the number of deleted files.
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
                    self.unmark(video_id)
                else:
                    self.delete(video_id)
                    swept += 1
        return swept

    def _derived_directory(self, video_id: uuid.UUID) -> Path:
        return self._derived / video_id.hex[-2:] / str(video_id)

    def _mark_path(self, video_id: uuid.UUID) -> Path:
        return self._incoming / str(video_id)


def _check_writable(directory: Path) -> None:
    """Raise OSError unless files can be created in `directory`."""
    if not os.access(directory, os.W_OK | os.X_OK):
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(directory))
