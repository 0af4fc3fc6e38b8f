"""Gives each request an id, logs its end, and adds the headers every reply carries."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import event, request_id

HEADER = "x-request-id"
# A caller's id is taken over only if it cannot confuse a log or a header.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")

_CONTENT_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
_QUIET_PATHS = ("/health",)


class RequestLog:
    """Plain ASGI, so that uploads and replies pass through without being buffered."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of connection pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        current = given if _ACCEPTABLE.match(given) else uuid.uuid4().hex
        token = request_id.set(current)
        started = time.perf_counter()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = current
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["content-security-policy"] = _CONTENT_POLICY
            await send(message)

        failed = False
        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            failed = True
            raise
        finally:
            quiet = scope["path"] in _QUIET_PATHS and status < 400
            event(
                "request.ended",
                level=logging.DEBUG if quiet else logging.INFO,
                exc_info=failed,
                method=scope["method"],
                path=scope["path"],
                status=500 if failed else status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
            request_id.reset(token)
