"""Replies that are files: range requests, caching, and errors as problems like all others."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from app.api.context import Context
from app.api.problems import documented, reply
from app.errors import UnavailableError
from app.services.media import Width

__all__ = ["CLIP", "CONTENT", "KINDS", "OTHER_KIND", "THUMBNAIL", "MediaResponse", "Width", "made"]

# Names are never reused: a video, an event and what is made of them do not change.
_CACHE = "private, max-age=86400, immutable"
# A page of somebody else's making is not shown as ours, whatever a file turns out to hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; sandbox"


# Which type a container is served under. What browsers do not play is at least not a web page.
KINDS = {"mov": "video/mp4", "matroska": "video/webm", "avi": "video/x-msvideo",
          "mpegts": "video/mp2t", "mpeg": "video/mpeg", "flv": "video/x-flv", "ogg": "video/ogg",
          "asf": "video/x-ms-asf", "gif": "image/gif"}  # fmt: skip
OTHER_KIND = "application/octet-stream"


def _binary(kinds: Iterable[str], description: str) -> dict[str, Any]:
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"description": description, "content": dict.fromkeys(kinds, schema)}


def _ranged(*kinds: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: _binary(kinds, "All of it."),
        # Several ranges at once come as parts of one body.
        206: _binary((*kinds, "multipart/byteranges"), "The range asked for."),
        **documented(400, 404, 416),
    }


THUMBNAIL: dict[int | str, dict[str, Any]] = {
    **_ranged("image/jpeg"),
    **documented(409, 507),
}
CLIP: dict[int | str, dict[str, Any]] = {**_ranged("video/mp4"), **documented(409, 507)}
CONTENT: dict[int | str, dict[str, Any]] = _ranged(*sorted(set(KINDS.values())), OTHER_KIND)


class MediaResponse(FileResponse):
    """A file that is shown in place, with ranges (RFC 9110 §14)."""

    def __init__(self, path: Path, *, kind: str, filename: str | None = None) -> None:
        """Serve `path`. Raises FileNotFoundError when it is gone."""
        super().__init__(
            path,
            media_type=kind,
            filename=filename,
            content_disposition_type="inline",
            stat_result=path.stat(),
            headers={"cache-control": _CACHE, "content-security-policy": _POLICY},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; a range that cannot be served leaves as a problem, not as plain text."""
        problem = None

        async def send_problem(message: Message) -> None:
            nonlocal problem
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                problem = self._problem(message["status"])
                await problem(scope, receive, send)
            elif problem is None:
                await send(message)

        await super().__call__(scope, receive, send_problem)

    def _problem(self, status: int) -> Any:
        if status == 400:
            return reply(400, title="Malformed range", kind="malformed-range")
        size = 0 if self.stat_result is None else self.stat_result.st_size
        answer = reply(
            416,
            title="Range not satisfiable",
            kind="range-not-satisfiable",
            detail=f"The file has {size} bytes.",
        )
        answer.headers["content-range"] = f"bytes */{size}"
        return answer


async def made(
    context: Context, request: Request, make: Callable[..., Path], *, kind: str
) -> MediaResponse:
    """Make a file in a thread of those set aside for ffmpeg, and serve it.

    They are few, so that a page full of new thumbnails delays neither the lists nor the uploads;
    nor are they held for clients that have gone, or when the service stops.
    """
    gone = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    def checkpoint() -> None:
        if gone.is_set() or context.stopping.is_set():
            raise UnavailableError("The service is stopping, or nobody waits for this any more.")

    watcher = asyncio.create_task(watch())
    try:
        path = await anyio.to_thread.run_sync(
            partial(make, checkpoint=checkpoint), limiter=context.media_limiter
        )
    finally:
        watcher.cancel()
    return MediaResponse(path, kind=kind)
