"""Import a video from a directory or URL that the operator has allowed.

The video is copied like an upload, so that what was analysed remains available whatever happens to
the original.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from app.errors import (
    ForbiddenImportError,
    ImportFileError,
    NotAVideoError,
    StorageFullError,
    UploadTooLargeError,
)
from app.services.fetch import CHUNK, FetchRules, fetch
from app.services.storage import Storage
from app.services.videos import Upload, hasher


@dataclass(frozen=True)
class ImportRules:
    """What may be imported, and from where."""

    directory: Path | None
    """Files below it may be imported; None allows no file."""
    fetch: FetchRules
    limit: int
    """Largest video in bytes."""


@contextmanager
def from_path(path: str, *, rules: ImportRules, storage: Storage) -> Iterator[Upload]:
    """Yield a copy of a file below the allowed directory; deleted after the block, unless moved.

    Raise ForbiddenImportError, ImportFileError, NotAVideoError, UploadTooLargeError or
    StorageFullError.
    """
    if rules.directory is None:
        raise ForbiddenImportError("Importing files is disabled: IMPORT_DIR is not set.")
    descriptor = _open_below(rules.directory, path)
    with os.fdopen(descriptor, "rb") as file:
        chunks = iter(lambda: file.read(CHUNK), b"")
        yield from _copy(
            chunks, name=PurePosixPath(path).name, source="path", rules=rules, storage=storage
        )


@contextmanager
def from_url(url: str, *, rules: ImportRules, storage: Storage) -> Iterator[Upload]:
    """Yield a copy of the content of an allowed URL; deleted after the block, unless moved.

    Raise ImportFailedError if the fetch fails, and otherwise as `from_path` does.
    """
    if not rules.fetch.hosts:
        raise ForbiddenImportError("Importing URLs is disabled: IMPORT_HOSTS is empty.")
    with fetch(url, rules=rules.fetch) as chunks:
        name = unquote(url.partition("?")[0].partition("#")[0].rpartition("/")[2])
        yield from _copy(chunks, name=name, source="url", rules=rules, storage=storage)


def _open_below(directory: Path, path: str) -> int:
    """Open a file below `directory`; follow no symlinks, so the path cannot escape."""
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path or ".." in parts or PurePosixPath(path).is_absolute():
        raise ForbiddenImportError("The path must be relative to IMPORT_DIR and stay below it.")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        current = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            # O_NONBLOCK: opening a FIFO must not block.
            more = os.O_NONBLOCK if last else os.O_DIRECTORY
            try:
                inner = os.open(part, flags | more, dir_fd=current)
            finally:
                os.close(current)
            current = inner
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ForbiddenImportError("The path must not contain symlinks.") from error
        reason = error.strerror if isinstance(error, OSError) else "not a valid file name"
        raise ImportFileError(f"The file cannot be opened: {reason}.") from error
    if not stat.S_ISREG(os.fstat(current).st_mode):
        os.close(current)
        raise ForbiddenImportError("Only regular files can be imported.")
    return current


def _copy(
    chunks: Iterator[bytes], *, name: str, source: str, rules: ImportRules, storage: Storage
) -> Iterator[Upload]:
    target = storage.incoming()
    digest, size = hasher(), 0
    try:
        try:
            with target.open("xb") as file:
                for chunk in chunks:
                    size += len(chunk)
                    if size > rules.limit:
                        raise UploadTooLargeError(
                            f"The video exceeds the limit of {rules.limit} bytes."
                        )
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError("Not enough disk space for this file.") from error
            raise
        if size == 0:
            raise NotAVideoError("The file is empty.")
        yield Upload(target, size, digest.hexdigest(), name, source)
    finally:
        target.unlink(missing_ok=True)
