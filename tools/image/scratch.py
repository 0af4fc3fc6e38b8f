"""Directories for what a run throws away, and how to delete what may have any mode.

with scratch_directory(default_root()) as directory: ...

ROOT/runs/<pid>-<random>/      one run's files
ROOT/runs/<pid>-<random>.lock  flock: held while the run lasts
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_directory(root: Path) -> Iterator[Path]:
    """Yield a directory on disk for one run's temporary files; remove those of killed runs.

    Every directory has a lock beside it that is held while the run lasts, so a free lock means
    that the run is over, however it ended.
    """
    runs = root / "runs"
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    lock = runs / f"{name}.lock"
    directory = os.open(runs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Between its creation and its flock, another run could take our file for a leftover.
        fcntl.flock(directory, fcntl.LOCK_EX)
        for left in runs.glob("*.lock"):
            _remove_run(left)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    finally:
        os.close(directory)
    try:
        (runs / name).mkdir(mode=0o700)
        yield runs / name
    finally:
        remove_tree(runs / name)
        lock.unlink(missing_ok=True)
        os.close(handle)


def _remove_run(lock: Path) -> None:
    """Remove a run whose lock nobody holds."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(lock.with_suffix(""))
            lock.unlink()
        finally:
            os.close(handle)


def remove_tree(path: Path) -> None:
    """Delete a directory of any depth whatever the modes in it; links are never followed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    directories = [os.fspath(path)]
    for directory in directories:
        os.chmod(directory, stat.S_IRWXU)
        with os.scandir(directory) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    directories.append(item.path)
                else:
                    os.unlink(item.path)
    for directory in reversed(directories):
        os.rmdir(directory)
