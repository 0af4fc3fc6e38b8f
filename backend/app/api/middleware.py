"""Around every request: an id, a line in the log, a count, a bound, and the headers of replies."""

import logging
import math
import re
import time
import uuid

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import RequestMeter
from app.api.problems import reply
from app.logs import event, request_id

HEADER = "x-request-id"
# A caller's id is taken over only if it cannot confuse a log or a header.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")

_CONTENT_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
_QUIET_PATHS = ("/health", "/health/live", "/health/ready", "/metrics")
# All bodies are small but one: the upload, which has a limit of its own.
BODY_LIMIT = 64 * 1024
_UPLOAD = ("POST", "/api/v1/videos")


class RequestLog:
    """Plain ASGI, so that uploads and replies pass through without being buffered."""

    def __init__(self, app: ASGIApp, *, meter: RequestMeter) -> None:
        """Wrap `app`; requests are counted by `meter`."""
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of connection pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        current = given if _ACCEPTABLE.match(given) else uuid.uuid4().hex
        token = request_id.set(current)
        started = time.perf_counter()
        self._meter.under_way += 1
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = current
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers.setdefault("content-security-policy", _CONTENT_POLICY)
            await send(message)

        failed = False
        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            failed = True
            raise
        finally:
            seconds = time.perf_counter() - started
            self._meter.under_way -= 1
            self._meter.observe(
                method=_method(scope),
                route=getattr(scope.get("route"), "path", "unmatched"),
                status=500 if failed else status,
                seconds=seconds,
            )
            quiet = scope["path"] in _QUIET_PATHS and status < 400
            event(
                "request.ended",
                level=logging.DEBUG if quiet else logging.INFO,
                exc_info=failed,
                method=scope["method"],
                path=scope["path"],
                status=500 if failed else status,
                milliseconds=round(seconds * 1000, 1),
            )
            request_id.reset(token)


def _method(scope: Scope) -> str:
    # Clients can invent methods, and each would become a time series.
    method: str = scope["method"]
    return method if method in _METHODS else "other"


class BodyLimit:
    """Refuses bodies, except uploads, that are over BODY_LIMIT bytes or take too long to arrive."""

    def __init__(self, app: ASGIApp, *, timeout: float) -> None:
        """Wrap `app`; `timeout` is in seconds."""
        self._app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of connection pass through."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) == _UPLOAD:
            await self._app(scope, receive, send)
            return
        title = f"Bodies of up to {BODY_LIMIT} bytes are accepted here"
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > BODY_LIMIT:
            await reply(413, title=title, kind="body-too-large")(scope, receive, send)
            return
        size, deadline = 0, anyio.current_time() + self._timeout

        async def receive_bounded() -> Message:
            nonlocal size, deadline
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    message = await receive()
            except TimeoutError:
                late = f"The body did not arrive within {self._timeout:g} s"
                raise HTTPException(408, late, headers={"connection": "close"}) from None
            size += len(message.get("body", b""))
            if size > BODY_LIMIT:
                raise HTTPException(413, title)
            if not message.get("more_body", False):
                deadline = math.inf  # what comes now is only that the client has gone
            return message

        await self._app(scope, receive_bounded, send)
