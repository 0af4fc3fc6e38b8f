"""Takes a video from a folder or an address that the operator has allowed: a copy, like an upload.

A copy, so that what was analysed stays what is shown, whatever happens to the original.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.errors import (
    ForbiddenImportError,
    ImportFileError,
    NotAVideoError,
    StorageFullError,
    UploadTooLargeError,
)
from app.services.fetch import CHUNK, FetchRules, fetched
from app.services.storage import Storage
from app.services.videos import Upload, hasher


@dataclass(frozen=True)
class ImportRules:
    """What may be imported."""

    directory: Path | None
    """Where files may come from; None is nowhere."""
    fetching: FetchRules
    limit: int
    """Bytes."""


@contextmanager
def from_path(path: str, *, rules: ImportRules, storage: Storage) -> Iterator[Upload]:
    """Yield a copy of a file under the allowed directory; gone after the block, unless moved.

    Raises ForbiddenImportError, ImportFileError, NotAVideoError, UploadTooLargeError or
    StorageFullError.
    """
    if rules.directory is None:
        raise ForbiddenImportError("IMPORT_DIR is not set, so no file can be imported.")
    descriptor = _opened(rules.directory, path)
    with os.fdopen(descriptor, "rb") as file:
        chunks = iter(lambda: file.read(CHUNK), b"")
        yield from _copied(
            chunks, name=PurePosixPath(path).name, source="path", rules=rules, storage=storage
        )


@contextmanager
def from_url(url: str, *, rules: ImportRules, storage: Storage) -> Iterator[Upload]:
    """Yield a copy of what an allowed URL answers with; gone after the block, unless moved.

    Raises ImportFailedError, and otherwise as `from_path` does.
    """
    if not rules.fetching.hosts:
        raise ForbiddenImportError("IMPORT_HOSTS is empty, so no address can be fetched.")
    with fetched(url, rules=rules.fetching) as chunks:
        name = url.partition("?")[0].partition("#")[0].rpartition("/")[2]
        yield from _copied(chunks, name=name, source="url", rules=rules, storage=storage)


def _opened(directory: Path, path: str) -> int:
    """Open a file below `directory`, following no link: neither `..` nor links lead out of it."""
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path or ".." in parts or PurePosixPath(path).is_absolute():
        raise ForbiddenImportError("The path must lead downwards from IMPORT_DIR.")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        current = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            # O_NONBLOCK: a pipe in the folder must not hold us.
            more = os.O_NONBLOCK if last else os.O_DIRECTORY
            try:
                inner = os.open(part, flags | more, dir_fd=current)
            finally:
                os.close(current)
            current = inner
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ForbiddenImportError("The path must lead through folders, not links.") from error
        reason = error.strerror if isinstance(error, OSError) else "no file name"
        raise ImportFileError(f"The file cannot be read: {reason}.") from error
    if not stat.S_ISREG(os.fstat(current).st_mode):
        os.close(current)
        raise ForbiddenImportError("Only regular files can be imported.")
    return current


def _copied(
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
                        raise UploadTooLargeError(f"Videos of up to {rules.limit} bytes are taken.")
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError("There is no room left for this file.") from error
            raise
        if size == 0:
            raise NotAVideoError("It is empty.")
        yield Upload(target, size, digest.hexdigest(), name, source)
    finally:
        target.unlink(missing_ok=True)
