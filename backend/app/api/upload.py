"""Stream a multipart upload straight into its file: constant memory, written once.

FastAPI's `UploadFile` would first spool the whole body to a temporary directory. Here each chunk is
parsed (RFC 7578, by python-multipart), hashed and written as it arrives, and the size limit applies
at the first excess byte.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from app.db import is_disk_full
from app.errors import (
    InvalidUploadError,
    StorageFullError,
    UploadTimeoutError,
    UploadTooLargeError,
)
from app.services.storage import Storage
from app.services.videos import Upload, hasher

FIELD = "file"
WRITE_SIZE = 1024 * 1024
# Allowance for boundaries, part headers and small fields besides the file.
OVERHEAD = 64 * 1024
# Bytes per second. A slower client is tying up a connection, not uploading a video.
MINIMUM_RATE = 1024
BOUNDARY_LIMIT = 70  # RFC 2046 §5.1.1


@asynccontextmanager
async def receive(
    request: Request, *, storage: Storage, limit: int, idle_timeout: float
) -> AsyncIterator[Upload]:
    """Yield the complete upload; its temporary file is deleted after the block, unless moved.

    Raise InvalidUploadError, UploadTooLargeError if it exceeds `limit` bytes, UploadTimeoutError if
    (almost) nothing arrives for `idle_timeout` seconds, or StorageFullError.
    """
    form = _Form(boundary=_boundary(request), limit=limit)
    _check_length(request, limit=limit)
    path = storage.incoming()
    file = await run_in_threadpool(path.open, "xb")
    try:
        try:
            with file:
                await _pump(request, form, file, idle_timeout=idle_timeout)
                await run_in_threadpool(_sync, file)
        except OSError as error:
            if is_disk_full(error):
                raise StorageFullError("Not enough disk space for this file.") from error
            raise
        yield Upload(path, form.size, form.hash.hexdigest(), form.filename())
    finally:
        file.close()
        path.unlink(missing_ok=True)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= BOUNDARY_LIMIT:
        raise InvalidUploadError(
            f"Send the video in the field {FIELD!r} of a multipart/form-data body."
        )
    return boundary


def _check_length(request: Request, *, limit: int) -> None:
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > limit + OVERHEAD:
        raise _too_large(limit)


def _too_large(limit: int) -> UploadTooLargeError:
    return UploadTooLargeError(f"The video exceeds the limit of {limit} bytes.")


async def _pump(request: Request, form: "_Form", file: BinaryIO, *, idle_timeout: float) -> None:
    async for chunk in received_chunks(request, idle_timeout=idle_timeout):
        form.feed(chunk)
        if len(form.pending) >= WRITE_SIZE:
            await run_in_threadpool(form.flush, file)
    form.end()
    await run_in_threadpool(form.flush, file)


async def received_chunks(request: Request, *, idle_timeout: float) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raise UploadTimeoutError if (almost) nothing arrives for `idle_timeout` seconds, or
    InvalidUploadError if the client disconnects.
    """
    chunks = aiter(request.stream())
    received, window_ends = 0, anyio.current_time() + idle_timeout
    try:
        while True:
            with anyio.fail_after(idle_timeout):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            received += len(chunk)
            if anyio.current_time() > window_ends:
                if received < MINIMUM_RATE * idle_timeout:
                    raise UploadTimeoutError(
                        f"Only {received} bytes received in {idle_timeout:g} s."
                    )
                received, window_ends = 0, anyio.current_time() + idle_timeout
            yield chunk
    except TimeoutError:
        raise UploadTimeoutError(f"No data received for {idle_timeout:g} s.") from None
    except ClientDisconnect:
        raise InvalidUploadError("The connection closed before the upload was complete.") from None


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@dataclass
class _Form:
    """Parser state; the parser calls the `_on_…` methods as it processes a chunk."""

    boundary: bytes
    limit: int
    size: int = 0
    pending: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.hash = hasher()
        self._filename: str | None = None
        self._complete = False
        self._in_file = False
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._overhead = 0
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse a chunk; append its file content to `pending`."""
        before = self.size
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise InvalidUploadError(f"The multipart body is malformed: {error}.") from error
        self._overhead += len(chunk) - (self.size - before)
        if self._overhead > OVERHEAD:
            raise InvalidUploadError(f"The form has more than {OVERHEAD} bytes besides the file.")

    def flush(self, file: BinaryIO) -> None:
        """Hash and write the pending content."""
        self.hash.update(self.pending)
        file.write(self.pending)
        self.pending.clear()

    def end(self) -> None:
        """Raise InvalidUploadError unless the form was complete and had a non-empty file."""
        if not self._complete:
            raise InvalidUploadError("The multipart body ends before its closing boundary.")
        if self._filename is None:
            raise InvalidUploadError(f"The form has no file in the field {FIELD!r}.")
        if self.size == 0:
            raise InvalidUploadError("The file is empty.")

    def filename(self) -> str:
        """Return the file name given by the client."""
        return self._filename or ""

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._in_file = options.get(b"name") == FIELD.encode() and b"filename" in options
        if self._in_file:
            if self._filename is not None:
                raise InvalidUploadError("The form has more than one file.")
            self._filename = _unescape(options[b"filename"]).decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            return
        self.size += end - start
        if self.size > self.limit:
            raise _too_large(self.limit)
        self.pending += data[start:end]

    def _on_part_end(self) -> None:
        self._in_file = False

    def _on_end(self) -> None:
        self._complete = True


def _unescape(name: bytes) -> bytes:
    """Undo what browsers escape in a name: these three and nothing else (WHATWG HTML, multipart).

    Line ends are dropped from names, so that they need not be restored.
    """
    return name.replace(b"%22", b'"').replace(b"%0D", b"").replace(b"%0A", b"")
