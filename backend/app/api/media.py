"""File responses: range requests, caching, and errors as problem details."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from app.api.conditional import HEAD_ONLY
from app.api.deps import Context
from app.api.problems import documented, problem_response
from app.api.turns import Turns
from app.errors import UnavailableError
from app.services.media import Wanted, Width

__all__ = [
    "CLIP",
    "CONTENT",
    "DEFAULT_MEDIA_TYPE",
    "MEDIA_TYPES",
    "PREVIEW",
    "THUMBNAIL",
    "MediaResponse",
    "Width",
    "media_response",
]

# Ids are never reused, so videos, events and files derived from them never change.
_CACHE = "private, max-age=86400, immutable"
# An uploaded file must never render as a page of this site, whatever it contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; sandbox"


# Media type by container. Types that browsers cannot play are at least not web pages.
MEDIA_TYPES = {"mov": "video/mp4", "matroska": "video/webm", "avi": "video/x-msvideo",
          "mpegts": "video/mp2t", "mpeg": "video/mpeg", "flv": "video/x-flv", "ogg": "video/ogg",
          "asf": "video/x-ms-asf", "gif": "image/gif"}  # fmt: skip
DEFAULT_MEDIA_TYPE = "application/octet-stream"


def _binary(media_types: Iterable[str], description: str) -> dict[str, Any]:
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"description": description, "content": dict.fromkeys(media_types, schema)}


def _ranged(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: _binary(media_types, "The whole file."),
        # Multiple ranges are returned as parts of one body.
        206: _binary((*media_types, "multipart/byteranges"), "The requested range."),
        **documented(400, 404, 416),
    }


THUMBNAIL: dict[int | str, dict[str, Any]] = {
    **_ranged("image/jpeg"),
    **documented(409, 507),
}
PREVIEW: dict[int | str, dict[str, Any]] = _ranged("video/mp4")
CLIP: dict[int | str, dict[str, Any]] = {**_ranged("video/mp4"), **documented(409, 507)}
CONTENT: dict[int | str, dict[str, Any]] = _ranged(
    *sorted(set(MEDIA_TYPES.values())), DEFAULT_MEDIA_TYPE
)


class MediaResponse(FileResponse):
    """An inline file with support for range requests (RFC 9110 §14)."""

    def __init__(
        self,
        path: Path,
        *,
        media_type: str,
        filename: str | None = None,
        version: str | None = None,
        reading: contextlib.AbstractContextManager[None] | None = None,
    ) -> None:
        """Serve `path`, whose content `version` identifies; by default its time and size do.

        Enter `reading` meanwhile. Raise FileNotFoundError if `path` does not exist.
        """
        self._reading = reading or contextlib.nullcontext()
        found = path.stat()
        if version is None:
            version = f"{found.st_mtime_ns:x}-{found.st_size:x}"
        super().__init__(
            path,
            media_type=media_type,
            filename=filename,
            content_disposition_type="inline",
            stat_result=found,
            headers={
                "cache-control": _CACHE,
                "content-security-policy": _POLICY,
                "etag": f'"{version}"',
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; report a range error as a problem instead of plain text."""
        problem = None

        async def send_problem(message: Message) -> None:
            nonlocal problem
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                problem = self._problem(message["status"])
                await problem(scope, receive, send)
            elif problem is None:
                await send(message)

        with self._reading:
            await super().__call__(self._with_usable_range(scope), receive, send_problem)

    def _with_usable_range(self, scope: Scope) -> Scope:
        """Return `scope` without ranges that have to be ignored (RFC 9110 §14.2)."""
        head = bool(scope.get(HEAD_ONLY))
        text = Headers(scope=scope).get("range", "")
        unit, separator, specifiers = text.partition("=")
        headers = [pair for pair in scope["headers"] if pair[0] != b"range"]
        # Units other than bytes are unknown, and only GET has ranges.
        if text and not head and (not separator or unit.strip().lower() == "bytes"):
            within = [each for each in specifiers.split(",") if self._starts_within(each)]
            usable = f"{unit}={','.join(within)}" if within else text
            headers.append((b"range", usable.encode("latin-1")))
        return {**scope, "method": "HEAD" if head else scope["method"], "headers": headers}

    def _starts_within(self, specifier: str) -> bool:
        first = specifier.partition("-")[0].strip()
        size = 0 if self.stat_result is None else self.stat_result.st_size
        if not (first.isascii() and first.isdecimal()):
            return True
        return len(first) <= len(str(size)) and int(first) < size

    def _problem(self, status: int) -> Any:
        if status == 400:
            return problem_response(400, title="Malformed range", kind="malformed-range")
        size = 0 if self.stat_result is None else self.stat_result.st_size
        response = problem_response(
            416,
            title="Range not satisfiable",
            kind="range-not-satisfiable",
            detail=f"The file has {size} bytes.",
        )
        response.headers["etag"] = self.headers["etag"]
        response.headers["content-range"] = f"bytes */{size}"
        return response


async def media_response(
    context: Context,
    request: Request,
    find: Callable[[], Wanted],
    *,
    limiter: Turns,
    media_type: str,
) -> MediaResponse:
    """Serve a file; if it does not exist, create it in one of the few threads of `limiter`.

    The limit keeps a page full of new thumbnails from delaying lists and uploads. A thread is
    released when its client disconnects or the service stops.
    """

    def look() -> tuple[Wanted, Path | None]:
        wanted = find()
        return wanted, context.media.find(wanted)

    wanted, existing = await anyio.to_thread.run_sync(look)
    if existing is not None:
        with contextlib.suppress(FileNotFoundError):  # evicted in the meantime
            return MediaResponse(existing, media_type=media_type)
    disconnected = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    def checkpoint() -> None:
        if disconnected.is_set() or context.stopping.is_set():
            raise UnavailableError("The service is stopping, or the client has disconnected.")

    def create() -> Path:
        with context.readers.reading(wanted.video_id):
            return context.media.create(wanted, checkpoint=checkpoint)

    watcher = asyncio.create_task(watch())
    try:
        path = await limiter.run(create)
    finally:
        watcher.cancel()
    return MediaResponse(path, media_type=media_type)
