"""Files of videos under DATA_DIR, named by ids only; a client's file name never touches the disk.

- `videos/ab/<uuid>`: stored content; ab are the last two digits, so that no folder grows large.
- `incoming/<uuid>.part`: uploads under way; renamed into place when complete.
- `incoming/<uuid>`: an empty mark beside content whose row is being added or removed.

The mark is what makes a crash harmless. A later start looks at old marks only and asks the database
which side won. Content without a mark is never touched, so a service that is given the wrong
database by mistake deletes nothing.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

# Marks and uploads this old belong to a process that died; younger ones may be at work.
ORPHAN_AGE_S = 3600.0
_PART = ".part"


class Storage:
    """Where the bytes are. All paths lie on one file system, so a rename is atomic."""

    def __init__(self, data_dir: Path) -> None:
        """Remember the directory; `prepare` makes it usable."""
        self.root = data_dir
        self._videos = data_dir / "videos"
        self._incoming = data_dir / "incoming"

    def prepare(self) -> None:
        """Create the folders. Raises OSError when DATA_DIR cannot be written."""
        self._videos.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(parents=True, exist_ok=True)

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
        self.path(video_id).unlink(missing_ok=True)
        self.settle(video_id)

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

    def _mark_path(self, video_id: uuid.UUID) -> Path:
        return self._incoming / str(video_id)
