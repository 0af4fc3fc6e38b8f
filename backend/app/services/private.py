"""Files that only the service's own user can read: new ones by the umask, older ones by `tighten`.

Versions before this one created files that everybody could read.
"""

import contextlib
import os
import stat
from pathlib import Path

from sqlalchemy import make_url

UMASK = 0o077


def keep_new_files_private() -> None:
    """Let this process and its children create files that only their own user can read."""
    os.umask(UMASK)


def tighten(path: Path) -> None:
    """Make a file, or a directory with everything in it, private if it is not yet.

    A directory comes after its content, so its own mode tells later starts that all is done: they
    look at nothing else, and a crash in between is harmless.
    """
    # What another process has just deleted, another user's file, or a file system without modes.
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not mode & UMASK:
            return
        if stat.S_ISDIR(mode):
            for entry in os.scandir(path):
                tighten(Path(entry.path))
        path.chmod(stat.S_IMODE(mode) & ~UMASK)


def tighten_root(path: Path) -> None:
    """Make a directory private, without its content; leave shared ones such as /tmp alone."""
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        if not mode & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(mode) & ~UMASK)


def database_files(url: str) -> list[Path]:
    """Return the files of an SQLite database, whether or not they exist; none for others."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return []
    return [Path(f"{parsed.database}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
