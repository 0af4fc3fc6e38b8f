"""`/api/v1/uploads`: resumable uploads by the tus protocol 1.0.0 (https://tus.io/protocols).

Extensions: creation, creation-with-upload, termination, checksum, expiration. The request that
sends the last byte stores the video, and fails as an ordinary upload would.
"""

import base64
import binascii
import contextlib
import hashlib
import uuid
from email.utils import format_datetime
from functools import partial
from typing import Annotated, Any

import anyio
from anyio import CancelScope
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api import clients
from app.api.auth import PROTECTED
from app.api.conditional import HEAD_ONLY, UPLOADS
from app.api.deps import Context, ContextDep
from app.api.middleware import TUS_VERSION
from app.api.problems import documented
from app.api.schemas import UploadOut
from app.api.upload import WRITE_SIZE, received_chunks
from app.api.videos import store_upload
from app.errors import (
    AppError,
    ChecksumError,
    InvalidUploadError,
    NotAVideoError,
    UploadBusyError,
    UploadOffsetError,
    UploadTimeoutError,
    UploadTooLargeError,
    UploadTypeError,
    UploadVersionError,
)
from app.logs import event
from app.services import quotas
from app.services.uploads import Resumable, Writer

DATA_TYPE = "application/offset+octet-stream"
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"
ALGORITHMS = ("sha1", "sha256", "md5")
# A request that is being replaced has to finish writing what it has received.
WAIT_S = 5.0
POLL_S = 0.1


async def require_version(
    request: Request, tus_resumable: Annotated[str | None, Header(max_length=100)] = None
) -> None:
    """Raise UploadVersionError unless the client speaks the protocol; plain GET needs none."""
    plain = request.method == "GET" and not request.scope.get(HEAD_ONLY)
    if tus_resumable != TUS_VERSION and not (plain and tus_resumable is None):
        raise UploadVersionError(f"Send `Tus-Resumable: {TUS_VERSION}`.")


router = APIRouter(
    prefix=UPLOADS,
    tags=["uploads"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)
_VERSIONED = [Depends(require_version)]
_STATE = {
    "Upload-Offset": {"schema": {"type": "integer"}, "description": "Bytes received."},
    "Upload-Expires": {"schema": {"type": "string"}, "description": "An HTTP date."},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {DATA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
Checksum = Annotated[
    str | None,
    Header(max_length=200, description="Of this body: `sha1`, `sha256` or `md5`, and base64."),
]


@router.options("", status_code=204, include_in_schema=False)
@router.options("/{upload_id}", status_code=204, include_in_schema=False)
def describe_uploads(context: ContextDep, response: Response) -> None:
    """Tell a client what is supported."""
    response.headers["tus-version"] = TUS_VERSION
    response.headers["tus-extension"] = EXTENSIONS
    response.headers["tus-checksum-algorithm"] = ",".join(ALGORITHMS)
    response.headers["tus-max-size"] = str(int(context.settings.max_upload_bytes))


@router.post(
    "",
    status_code=201,
    response_class=Response,
    dependencies=_VERSIONED,
    openapi_extra=_BODY,
    responses={
        201: {"description": "Created; `Location` is where to send the data.", "headers": _STATE},
        **documented(400, 408, 409, 412, 413, 415, 423, 429, 460, 507),
    },
)
async def create_upload(
    request: Request,
    context: ContextDep,
    upload_length: Annotated[int, Header(ge=0, description="Size of the file in bytes.")],
    upload_metadata: Annotated[
        str | None, Header(max_length=8192, description="`filename` and its base64 value.")
    ] = None,
    upload_checksum: Checksum = None,
    *,
    analyse: bool = True,
) -> Response:
    """Begin a resumable upload (tus 1.0.0). The body may hold the first part of the file."""
    limit = int(context.settings.max_upload_bytes)
    if upload_length > limit:
        raise UploadTooLargeError(f"The video exceeds the limit of {limit} bytes.")
    if upload_length == 0:
        raise InvalidUploadError("The file is empty.")
    metadata = _metadata(upload_metadata or "")
    client = clients.current()

    def allow(announced: int) -> None:
        with context.database.reading() as session:
            quotas.check_bytes(session, client=client, size=announced, quotas=context.quotas)

    new = await run_in_threadpool(
        partial(
            context.uploads.create,
            length=upload_length,
            filename=metadata.get("filename", metadata.get("name", "")),
            metadata=upload_metadata or "",
            analyse=analyse,
            client=client,
            allow=allow,
        )
    )
    event("upload.created", upload_id=new.id, size=upload_length)
    if request.headers.get("content-type") == DATA_TYPE:
        new = await _append(request, context, new.id, offset=0, checksum=upload_checksum)
    headers = _headers(new) | {"location": f"{UPLOADS}/{new.id}"}
    return Response(status_code=201, headers=headers)


@router.get("/{upload_id}", dependencies=_VERSIONED, responses=documented(404, 412))
async def read_upload(
    request: Request, context: ContextDep, response: Response, upload_id: uuid.UUID
) -> UploadOut:
    """Get how much of a file has been received, and the video it has become.

    HEAD asks for the same in order to continue: it ends a request that is still sending data.
    """
    if request.scope.get(HEAD_ONLY):
        await _interrupt(context, upload_id)
    upload = await run_in_threadpool(context.uploads.get, upload_id)
    response.headers.update(_headers(upload))
    response.headers["upload-length"] = str(upload.length)
    if upload.metadata:
        response.headers["upload-metadata"] = upload.metadata
    return UploadOut.from_upload(upload)


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    dependencies=_VERSIONED,
    openapi_extra=_BODY,
    responses={
        204: {"description": "Received.", "headers": _STATE},
        **documented(400, 404, 408, 409, 412, 413, 415, 423, 429, 460, 507),
    },
)
async def continue_upload(
    request: Request,
    context: ContextDep,
    upload_id: uuid.UUID,
    upload_offset: Annotated[int, Header(ge=0, description="Where the data belongs.")],
    upload_checksum: Checksum = None,
) -> Response:
    """Append data to an upload. What arrives is kept even if the connection is lost."""
    if request.headers.get("content-type") != DATA_TYPE:
        raise UploadTypeError(f"Send the data as `Content-Type: {DATA_TYPE}`.")
    upload = await _append(
        request, context, upload_id, offset=upload_offset, checksum=upload_checksum
    )
    return Response(status_code=204, headers=_headers(upload))


@router.delete(
    "/{upload_id}", status_code=204, dependencies=_VERSIONED, responses=documented(404, 412, 423)
)
async def delete_upload(context: ContextDep, upload_id: uuid.UUID) -> None:
    """Delete an upload and what was received of it; a video that it has become is kept."""
    await _interrupt(context, upload_id)

    def delete() -> None:
        # The lock is held until the upload is gone.
        unfinished = context.uploads.get(upload_id).video_id is None
        with context.uploads.open(upload_id) if unfinished else contextlib.nullcontext():
            context.uploads.delete(upload_id)

    await run_in_threadpool(delete)


async def _interrupt(context: Context, upload_id: uuid.UUID) -> None:
    """End this process's request that is writing to the upload; its connection may be dead."""
    if scope := context.writers.get(upload_id):
        scope.cancel()
        with anyio.move_on_after(WAIT_S):
            while context.writers.get(upload_id) is scope:  # noqa: ASYNC110 - a rare, short wait
                await anyio.sleep(0.01)


async def _append(
    request: Request, context: Context, upload_id: uuid.UUID, *, offset: int, checksum: str | None
) -> Resumable:
    expected = _Checksum(checksum)
    known = await run_in_threadpool(context.uploads.get, upload_id)
    if offset != known.offset:
        await _interrupt(context, upload_id)  # the client has not seen where it ended
        known = await run_in_threadpool(context.uploads.get, upload_id)
    _check_offset(known, offset)
    if known.video_id is not None:
        return known
    await _interrupt(context, upload_id)
    with CancelScope() as scope:
        context.writers[upload_id] = scope
        try:
            with await _open(context, upload_id) as writer:
                _check_offset(writer.upload, offset)
                await _receive(request, context, writer, expected)
                if writer.is_complete:
                    await context.ingest_limiter.run(partial(_store, context, writer.upload))
            return await run_in_threadpool(context.uploads.get, upload_id)
        finally:
            if context.writers.get(upload_id) is scope:
                del context.writers[upload_id]
    raise UploadBusyError("Another request continues this upload.")


async def _open(context: Context, upload_id: uuid.UUID) -> Writer:
    deadline = anyio.current_time() + WAIT_S
    while True:
        try:
            return await run_in_threadpool(context.uploads.open, upload_id)
        except UploadBusyError:
            # A request of another process, or one that is storing the video.
            if anyio.current_time() > deadline:
                raise
        await anyio.sleep(POLL_S)


def _check_offset(upload: Resumable, offset: int) -> None:
    if offset != upload.offset:
        raise UploadOffsetError(f"The upload continues at {upload.offset}, not at {offset}.")


async def _receive(
    request: Request, context: Context, writer: Writer, expected: "_Checksum"
) -> None:
    """Write the body. If the connection is lost, keep what arrived unless a checksum covers it."""
    idle_timeout = context.settings.upload_idle_timeout.total_seconds()
    pending = bytearray()

    def flush() -> None:
        data = bytes(pending)
        pending.clear()
        writer.append(data)

    def keep() -> None:
        flush()
        writer.sync()

    try:
        async for chunk in received_chunks(request, idle_timeout=idle_timeout):
            expected.update(chunk)
            pending += chunk
            if len(pending) >= WRITE_SIZE:
                await run_in_threadpool(flush)
        expected.check()
        await run_in_threadpool(keep)
    except BaseException as error:
        lost = not isinstance(error, AppError) or isinstance(
            error, InvalidUploadError | UploadTimeoutError
        )
        with CancelScope(shield=True):
            await run_in_threadpool(keep if lost and not expected.given else writer.discard)
        raise


def _store(context: Context, upload: Resumable) -> None:
    """Make the complete upload a video."""
    whole = context.uploads.complete(upload)
    try:
        reply, created = store_upload(context, whole, analyse=upload.analyse)
    except NotAVideoError:
        context.uploads.delete(upload.id)
        raise
    context.uploads.finish(upload, video_id=reply.id, known=not created)


def _headers(upload: Resumable) -> dict[str, str]:
    headers = {"upload-offset": str(upload.offset), "cache-control": "no-store"}
    if upload.expires_at is not None:
        headers["upload-expires"] = format_datetime(upload.expires_at, usegmt=True)
    return headers


def _metadata(text: str) -> dict[str, str]:
    found = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise InvalidUploadError(f"Upload-Metadata: {key!r} is not valid base64.") from None
    return found


class _Checksum:
    """The checksum announced for one body, if any."""

    def __init__(self, text: str | None) -> None:
        """Parse `Upload-Checksum`. Raise InvalidUploadError."""
        self.given = text is not None
        algorithm, _, value = (text or "").partition(" ")
        if self.given and algorithm not in ALGORITHMS:
            raise InvalidUploadError(
                f"Upload-Checksum: {algorithm!r} is not one of {', '.join(ALGORITHMS)}."
            )
        self._hash = hashlib.new(algorithm, usedforsecurity=False) if self.given else None
        try:
            self._expected = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidUploadError("Upload-Checksum: not valid base64.") from None

    def update(self, chunk: bytes) -> None:
        """Add data."""
        if self._hash is not None:
            self._hash.update(chunk)

    def check(self) -> None:
        """Raise ChecksumError if the data is not as announced."""
        if self._hash is not None and self._hash.digest() != self._expected:
            raise ChecksumError("The data does not have the announced checksum.")
