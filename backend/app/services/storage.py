"""Files of videos under DATA_DIR, named by ids only; a client's file name never touches the disk.

- `videos/ab/<uuid>`: stored content; ab are the last two digits, so that no folder grows large.
- `incoming/<uuid>`: uploads under way; renamed into place when complete.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

# A file nobody refers to is swept after this long; until then it may be an upload under way.
ORPHAN_AGE_S = 3600.0


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
        return self._incoming / str(uuid.uuid4())

    def keep(self, temporary: Path, *, video_id: uuid.UUID) -> None:
        """Move a complete upload to its place, surviving a crash from here on."""
        target = self.path(video_id)
        target.parent.mkdir(exist_ok=True)
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name itself must be on disk before the row that refers to it
        finally:
            os.close(folder)

    def delete(self, video_id: uuid.UUID) -> None:
        """Remove the content; a file that is gone already is fine."""
        self.path(video_id).unlink(missing_ok=True)

    def stale(self) -> Iterator[Path]:
        """Yield files old enough to be orphans: abandoned uploads and all older content."""
        limit = time.time() - ORPHAN_AGE_S
        for pattern, folder in (("*", self._incoming), ("*/*", self._videos)):
            for path in folder.glob(pattern):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if path.stat().st_mtime < limit:
                        yield path

    def sweep(self, *, known: Collection[uuid.UUID]) -> int:
        """Delete stale files that belong to no video in `known`; return how many."""
        names = {str(video_id) for video_id in known}
        swept = 0
        for path in self.stale():
            if path.parent == self._incoming or path.name not in names:
                path.unlink(missing_ok=True)
                swept += 1
        return swept
