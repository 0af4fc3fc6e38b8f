"""Receiving multipart bodies, split into chunks at every awkward place."""

import asyncio
from pathlib import Path

import pytest
from fastapi import Request

from app.api.upload import OVERHEAD, receive
from app.errors import (
    AppError,
    InvalidUploadError,
    UploadTimeoutError,
    UploadTooLargeError,
)
from app.services.storage import Storage

BOUNDARY = "frontier"
CONTENT = b"\r\n--frontie\r\n" * 50 + b"\x00\xff end"
LIMIT = 10_000


def body(content: bytes, *, name: str = "file", filename: str | None = "a.mp4") -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def request(
    chunks: list[bytes], *, headers: dict[str, str] | None = None, drip: bool = False
) -> Request:
    pending = list(chunks)
    given = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"} | (headers or {})

    async def get() -> dict[str, object]:
        if not pending:
            return {"type": "http.request", "body": b"", "more_body": False}
        chunk = pending.pop(0)
        if chunk == b"hang up":
            return {"type": "http.disconnect"}
        if chunk == b"stall":
            await asyncio.sleep(60)
        if len(chunk) == 1 and drip:
            await asyncio.sleep(0.02)
        return {"type": "http.request", "body": chunk, "more_body": True}

    encoded = [(key.encode(), value.encode()) for key, value in given.items()]
    return Request({"type": "http", "method": "POST", "headers": encoded}, get)


async def read_upload(made: Request, storage: Storage) -> tuple[bytes, int, str]:
    async with receive(made, storage=storage, limit=LIMIT, idle_timeout=0.3) as upload:
        return upload.path.read_bytes(), upload.size, upload.filename


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path)
    storage.prepare()
    return storage


def leftovers(storage: Storage) -> list[Path]:
    found = [path for path in storage.root.rglob("*") if path.is_file()]
    return [path for path in found if path.name != "reserve"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100_000])
def test_content_is_reassembled_from_chunks_of_any_size(step: int, storage: Storage) -> None:
    whole = body(CONTENT)
    chunks = [whole[start : start + step] for start in range(0, len(whole), step)]
    content, size, filename = asyncio.run(read_upload(request(chunks), storage))
    assert (content, size, filename) == (CONTENT, len(CONTENT), "a.mp4")
    assert leftovers(storage) == []


@pytest.mark.parametrize(
    ("chunks", "headers", "error", "message"),
    [
        (
            [b"{}"],
            {"content-type": "application/json"},
            InvalidUploadError,
            "in the field 'file' of a multipart",
        ),
        (
            [b"x"],
            {"content-type": "multipart/form-data"},
            InvalidUploadError,
            "in the field 'file' of a multipart",
        ),
        (
            [b"x"],
            {"content-type": f"multipart/form-data; boundary={'b' * 71}"},
            InvalidUploadError,
            "in the field 'file' of a multipart",
        ),
        ([b"no boundary here"], {}, InvalidUploadError, "malformed"),
        ([body(CONTENT)[:-8]], {}, InvalidUploadError, "ends before its closing boundary"),
        ([body(CONTENT, name="other")], {}, InvalidUploadError, "no file in the field 'file'"),
        ([body(CONTENT, filename=None)], {}, InvalidUploadError, "no file in the field 'file'"),
        ([body(b"")], {}, InvalidUploadError, "The file is empty"),
        ([body(b"a" * (LIMIT + 1))], {}, UploadTooLargeError, "exceeds the limit of 10000 bytes"),
        (
            [b""],
            {"content-length": "99999999"},
            UploadTooLargeError,
            "exceeds the limit of 10000 bytes",
        ),
        ([body(CONTENT)[:80], b"hang up"], {}, InvalidUploadError, "connection closed"),
        ([body(CONTENT)[:80], b"stall"], {}, UploadTimeoutError, "No data received for 0.3 s"),
        (
            [body(b"a" * (OVERHEAD + 1), name="other")],
            {},
            InvalidUploadError,
            "more than 65536 bytes besides the file",
        ),
        (
            [body(CONTENT, filename="a" * 20_000)],
            {},
            InvalidUploadError,
            "Maximum header size exceeded",
        ),
        (
            [body(b"a").removesuffix(f"--{BOUNDARY}--\r\n".encode()) + body(b"b")],
            {},
            InvalidUploadError,
            "more than one file",
        ),
    ],
)
def test_invalid_upload_is_rejected_with_a_reason_and_leaves_no_files(
    chunks: list[bytes],
    headers: dict[str, str],
    error: type[AppError],
    message: str,
    storage: Storage,
) -> None:
    with pytest.raises(error, match=message):
        asyncio.run(read_upload(request(chunks, headers=headers), storage))
    assert leftovers(storage) == []


def test_slow_upload_is_dropped_even_while_data_trickles_in(storage: Storage) -> None:
    chunks = [bytes([byte]) for byte in body(CONTENT)]
    with pytest.raises(UploadTimeoutError, match=r"Only \d+ bytes received in 0.3 s"):
        asyncio.run(read_upload(request(chunks, drip=True), storage))
    assert leftovers(storage) == []


def test_file_of_exactly_the_maximum_size_is_accepted(storage: Storage) -> None:
    _, size, _ = asyncio.run(read_upload(request([body(b"a" * LIMIT)]), storage))
    assert size == LIMIT


def test_cancelled_request_leaves_no_files(storage: Storage) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(read_upload(request([body(CONTENT)[:80], b"stall"]), storage))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert leftovers(storage) == []
