"""Middleware for every request: id, log line, metrics, body limit, and response headers."""

import asyncio
import logging
import math
import re
import time
import uuid

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.conditional import is_upload
from app.api.meter import RequestMeter
from app.api.problems import allowed_methods, problem_response
from app.connection import REQUEST_ID, SECURITY_HEADERS
from app.logs import caller, event, request_id

# Accept a client's request id only if it is safe in a log and in a header.
_SAFE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")

_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
_QUIET_PATHS = ("/health", "/health/live", "/health/ready", "/metrics")
# Every body is small except an upload, which has its own limit.
BODY_LIMIT = 64 * 1024
_UPLOAD = ("POST", "/api/v1/videos")
TUS_VERSION = "1.0.0"


class RequestLog:
    """Log and count requests, and answer those that fail unexpectedly.

    Plain ASGI, so that uploads and responses are not buffered.
    """

    def __init__(self, app: ASGIApp, *, meter: RequestMeter) -> None:
        """Wrap `app`; count requests with `meter`."""
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; pass other connection types through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client_id = Headers(scope=scope).get(REQUEST_ID, "")
        current = client_id if _SAFE_ID.match(client_id) else uuid.uuid4().hex
        client = scope.get("client")
        tokens = (
            request_id.set(current),
            caller.set({} if client is None else {"client": client[0]}),
        )
        started = time.perf_counter()
        self._meter.in_progress += 1
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = current
                if is_upload(scope):
                    headers["tus-resumable"] = TUS_VERSION
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        failure: Exception | None = None
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            failure = error
            if status:
                raise  # the server closes the connection, so that no client takes it as complete
            response = problem_response(500, title="Internal error", kind="internal-error")
            await response(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            if not status:
                response = problem_response(503, title="The service is stopping", kind="stopping")
                await response(scope, receive, send_with_headers)
            raise
        finally:
            seconds = time.perf_counter() - started
            self._meter.in_progress -= 1
            self._meter.observe(
                method=_method(scope),
                route=getattr(scope.get("route"), "path", "unmatched"),
                status=500 if failure else status,
                seconds=seconds,
            )
            quiet = scope["path"] in _QUIET_PATHS and status < 400
            event(
                "request.ended",
                level=logging.DEBUG if quiet else logging.INFO,
                exc_info=failure,
                method=scope["method"],
                path=scope["path"],
                status=500 if failure else status,
                milliseconds=round(seconds * 1000, 1),
            )
            request_id.reset(tokens[0])
            caller.reset(tokens[1])


def _method(scope: Scope) -> str:
    # Clients can invent methods, and each would create a time series.
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _has_own_limit(scope: Scope) -> bool:
    request = (scope["method"], scope["path"])
    return request == _UPLOAD or (scope["method"] in ("POST", "PATCH") and is_upload(scope))


class BodyLimit:
    """Reject bodies, except uploads, that exceed BODY_LIMIT bytes or arrive too slowly."""

    def __init__(self, app: ASGIApp, *, timeout: float) -> None:
        """Wrap `app`; `timeout` is in seconds."""
        self._app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; pass other connection types through."""
        if scope["type"] != "http" or _has_own_limit(scope):
            await self._app(scope, receive, send)
            return
        title = f"The request body exceeds {BODY_LIMIT} bytes"
        content_length = Headers(scope=scope).get("content-length", "")
        announced = content_length.isdecimal() and int(content_length) > BODY_LIMIT
        # A method that is not allowed, or a path that does not exist, is the better reason.
        if announced and scope["method"] in allowed_methods(scope):
            response = problem_response(413, title=title, kind="body-too-large")
            await response(scope, receive, send)
            return
        size, deadline = 0, anyio.current_time() + self._timeout

        async def receive_bounded() -> Message:
            nonlocal size, deadline
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    message = await receive()
            except TimeoutError:
                reason = f"The request body did not arrive within {self._timeout:g} s"
                raise HTTPException(408, reason, headers={"connection": "close"}) from None
            size += len(message.get("body", b""))
            if size > BODY_LIMIT:
                raise HTTPException(413, title)
            if not message.get("more_body", False):
                deadline = math.inf  # the only further message is the disconnect
            return message

        await self._app(scope, receive_bounded, send)
