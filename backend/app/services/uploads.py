"""Resumable uploads on disk: they survive restarts, and any API process can continue them.

Of each upload there are two files below DATA_DIR/uploads: `<uuid>` has the data received so far, so
that its size is the offset, and `<uuid>.json` describes it. While a request writes data it holds a
lock on the data file, which the kernel releases if the process dies.

The last byte counts as received only once the video is stored. So a client whose upload was
complete when the service was killed, or could not probe it, sends that byte again and gets its
video.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Self

from app.db import is_disk_full
from app.errors import (
    StorageFullError,
    TooManyRequestsError,
    UploadBusyError,
    UploadNotFoundError,
    UploadTooLargeError,
)
from app.services import videos
from app.services.storage import Storage

_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Resumable:
    """A resumable upload: unfinished, or with the video that it became."""

    id: uuid.UUID
    length: int
    """Size of the whole file in bytes."""
    filename: str
    metadata: str
    """As the client sent it; returned to clients that ask."""
    analyse: bool
    offset: int = 0
    """Number of bytes that need not be sent again."""
    expires_at: datetime | None = None
    video_id: uuid.UUID | None = None
    known: bool = False
    """Whether the video was there before."""
    client: str | None = None
    """Who began it."""


class Uploads:
    """The resumable uploads below one directory."""

    def __init__(self, storage: Storage, *, lifetime: float, per_client: int = 100) -> None:
        """Store the dependencies; `lifetime` is in seconds since the last data."""
        self._storage = storage
        self._per_client = per_client
        self._lifetime = lifetime

    def create(
        self,
        *,
        length: int,
        filename: str,
        metadata: str,
        analyse: bool,
        client: str | None = None,
        allow: Callable[[int], None] = lambda _: None,
    ) -> Resumable:
        """Begin an upload.

        `allow` may refuse the number of bytes that the client has announced in all. Raise
        StorageFullError if the disk has no room for `length` bytes, or TooManyRequestsError if the
        client has too many unfinished uploads.
        """
        if shutil.disk_usage(self._storage.uploads).free < length:
            raise StorageFullError("Not enough disk space for this file.")
        new = Resumable(uuid.uuid4(), length, filename, metadata, analyse, client=client)
        with (self._storage.root / "uploads.lock").open("wb") as file:
            # One at a time in all processes; released when the file is closed.
            fcntl.flock(file, fcntl.LOCK_EX)
            lengths = list(self._unfinished(client))
            if len(lengths) >= self._per_client:
                raise TooManyRequestsError(
                    f"{len(lengths)} uploads are unfinished; continue or delete one of them."
                )
            allow(sum(lengths) + length)
            self._data(new.id).touch()
            self._write(new)
        return self.get(new.id)

    def _unfinished(self, client: str | None) -> Iterator[int]:
        """Yield the length of each unfinished upload of a client."""
        for path in self._storage.uploads.glob("*.json"):
            with contextlib.suppress(FileNotFoundError, UploadNotFoundError):
                upload = self.get(uuid.UUID(path.stem))
                if upload.client == client and upload.video_id is None:
                    yield upload.length

    def get(self, upload_id: uuid.UUID) -> Resumable:
        """Return an upload. Raise UploadNotFoundError if it does not exist or has expired."""
        try:
            stored = json.loads(self._description(upload_id).read_bytes())
            length, video_id = stored["length"], stored["video_id"]
            # Of a finished upload only the description is left.
            received = self._data(upload_id).stat().st_size if video_id is None else length
        except FileNotFoundError:
            raise UploadNotFoundError(f"Upload {upload_id} does not exist.") from None
        expiry = self._expiry(upload_id)
        if expiry < time.time():
            raise UploadNotFoundError(f"Upload {upload_id} has expired.")
        return Resumable(
            id=upload_id,
            length=length,
            filename=stored["filename"],
            metadata=stored["metadata"],
            analyse=stored["analyse"],
            offset=min(received, length - 1) if video_id is None else length,
            expires_at=datetime.fromtimestamp(expiry, UTC),
            video_id=None if video_id is None else uuid.UUID(video_id),
            known=stored["known"],
            client=stored.get("client"),
        )

    def open(self, upload_id: uuid.UUID) -> "Writer":
        """Open an upload for appending, in one request of all processes at a time.

        Raise UploadBusyError if another request is writing to it, or UploadNotFoundError.
        """
        self.get(upload_id)
        try:
            file = self._data(upload_id).open("r+b", buffering=0)
        except FileNotFoundError:  # finished or deleted meanwhile
            raise UploadNotFoundError(f"Upload {upload_id} does not exist.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Writer(file, self.get(upload_id))  # it may just have been finished
        except BlockingIOError:
            file.close()
            raise UploadBusyError("Another request is writing to this upload; try again.") from None
        except BaseException:
            file.close()
            raise

    def complete(self, upload: Resumable) -> videos.Upload:
        """Return the whole file of an upload as an ordinary upload."""
        path, digest = self._data(upload.id), videos.hasher()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return videos.Upload(
            path, upload.length, digest.hexdigest(), upload.filename, client=upload.client
        )

    def finish(self, upload: Resumable, *, video_id: uuid.UUID, known: bool) -> None:
        """Record the video that an upload has become; its data has been moved or is not needed."""
        self._write(replace(upload, video_id=video_id, known=known))
        self._data(upload.id).unlink(missing_ok=True)

    def delete(self, upload_id: uuid.UUID) -> None:
        """Delete an upload and its data. The video that it has become is kept."""
        self._description(upload_id).unlink(missing_ok=True)
        self._data(upload_id).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete expired uploads; return their number."""
        swept = 0
        for name in {path.stem for path in self._storage.uploads.iterdir()}:
            if self._expiry(uuid.UUID(name)) < time.time():
                self.delete(uuid.UUID(name))
                swept += 1
        return swept

    def _expiry(self, upload_id: uuid.UUID) -> float:
        latest = 0.0
        for path in (self._data(upload_id), self._description(upload_id)):
            with contextlib.suppress(FileNotFoundError):
                latest = max(latest, path.stat().st_mtime)
        return latest + self._lifetime

    def _write(self, upload: Resumable) -> None:
        values = {
            name: value
            for name, value in asdict(upload).items()
            if name not in ("id", "offset", "expires_at")
        }
        target = self._description(upload.id)
        temporary = self._storage.incoming()
        try:
            temporary.write_text(json.dumps(values, default=str))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _data(self, upload_id: uuid.UUID) -> Path:
        return self._storage.uploads / str(upload_id)

    def _description(self, upload_id: uuid.UUID) -> Path:
        return self._storage.uploads / f"{upload_id}.json"


class Writer:
    """Appends data to one upload, whose lock it holds until it is closed."""

    def __init__(self, file: FileIO, upload: Resumable) -> None:
        """Append to `file` from the upload's offset on."""
        self.upload = upload
        self._file = file
        self._size = upload.offset
        file.seek(upload.offset)
        file.truncate()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and release the lock."""
        self._file.close()

    @property
    def is_complete(self) -> bool:
        """Return whether every byte is there."""
        return self._size == self.upload.length

    def append(self, chunk: bytes) -> None:
        """Write data. Raise UploadTooLargeError (beyond the length) or StorageFullError."""
        if self._size + len(chunk) > self.upload.length:
            raise UploadTooLargeError(f"The upload was announced with {self.upload.length} bytes.")
        left = memoryview(chunk)
        with _disk_errors():
            while left:
                written = self._file.write(left)
                self._size += written
                left = left[written:]

    def discard(self) -> None:
        """Drop what this writer has appended."""
        self._size = self.upload.offset
        self._file.truncate(self._size)

    def sync(self) -> None:
        """Make everything appended durable. Raise StorageFullError."""
        with _disk_errors():
            os.fsync(self._file.fileno())


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError("Not enough disk space for this file.") from error
        raise
