"""Replace files in one step: readers see the old file or the whole new one, never a part.

    replace_files({Path("suite.lock.json"): b"..."})
    with replacing(Path("layer.tar.gz")) as stream: stream.write(b"...")

An interruption leaves the old file, and no other. Python 3.9 and the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

# mkstemp's 0600 would keep the other users of a cache or checkout out.
_MODE = 0o644


@contextlib.contextmanager
def replacing(path: Path, *, directory: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` when the block ends without an exception.

    The new file is made in `directory`, by default beside `path`; both must be on one file system.
    """
    partial, stream = _partial(path, directory or path.parent)
    try:
        with stream:
            yield stream
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Write all files, each in one step, and replace none before every one is on disk."""
    partials: list[tuple[str, Path]] = []
    try:
        for path, content in contents.items():
            partial, stream = _partial(path, path.parent)
            partials.append((partial, path))
            with stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        while partials:
            os.replace(*partials[0])
            del partials[0]
    finally:
        for partial, _ in partials:
            os.unlink(partial)


def _partial(path: Path, directory: Path) -> tuple[str, BinaryIO]:
    handle, name = tempfile.mkstemp(dir=directory, prefix=f".{path.name}.")
    os.fchmod(handle, _MODE)
    return name, os.fdopen(handle, "wb")
