"""Validators, preconditions and HEAD for everything that is served (RFC 9110 §8.8, §9.3.2, §13).

Routes declare GET only. A HEAD request is routed as GET, and its body is dropped here. A complete
body without a validator gets an ETag of its content: the files in an image all have the same time,
so a time says nothing about them. Without a Cache-Control of its own a response may be stored, but
is revalidated before each use.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_response

HEAD_ONLY = "head_only"
"""Key of the ASGI scope of a HEAD request, whose method reads GET."""

UPLOADS = "/api/v1/uploads"
_PRECONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_TAG = re.compile(r'(?:W/)?"[^"]*"')
# Headers of the body that is not sent with 304.
_BODY_HEADERS = ("content-length", "content-type", "content-range", "content-disposition")
_DIGITS = 32


def is_upload(scope: Scope) -> bool:
    """Return whether the path is that of resumable uploads, which follow the tus protocol."""
    path: str = scope["path"]
    return path == UPLOADS or path.startswith(f"{UPLOADS}/")


def _routed(scope: Scope) -> Scope:
    """Return a copy of `scope` with the method by which the request is routed."""
    method = scope["method"]
    wanted = Headers(scope=scope).get("x-http-method-override", "")
    if method == "POST" and is_upload(scope) and wanted in ("HEAD", "PATCH", "DELETE"):
        method = wanted  # tus, for clients that can only send GET and POST
    if method == "HEAD":
        return {**scope, "method": "GET", HEAD_ONLY: True}
    return {**scope, "method": method}


class Conditional:
    """Evaluate preconditions and answer HEAD. Plain ASGI, so that responses are not buffered."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; pass other connection types through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        routed = _routed(scope)  # a copy: the server looks at the method of its own
        try:
            await self._handle(routed, receive, send)
        finally:
            if "route" in routed:  # for the log
                scope["route"] = routed["route"]

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Headers(scope=scope)
        if scope["method"] == "GET":
            await self._app(scope, receive, _Reply(scope, request, send))
        elif any(name in request for name in _PRECONDITIONS) and not await self._met(scope):
            await _failed()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _met(self, scope: Scope) -> bool:
        """Compare the preconditions of an unsafe request with what GET would return."""
        request = Headers(scope=scope)
        kept = [pair for pair in request.raw if pair[0].decode("latin-1") not in _PRECONDITIONS]
        current: dict[str, str] | None = None

        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            nonlocal current
            if message["type"] == "http.response.start" and message["status"] == 200:
                current = dict(Headers(raw=message["headers"]))

        inner: Scope = {**scope, "method": "GET", "headers": kept}
        await self._app(inner, receive, _Reply(inner, Headers(raw=kept), send))
        # If nothing is there, the request fails for a better reason.
        return current is None or evaluate(request, current, safe=False) is None


@dataclass
class _Reply:
    """Completes one response to GET or HEAD."""

    scope: Scope
    request: Headers
    send: Send
    start: Message | None = None
    silent: bool = False

    async def __call__(self, message: Message) -> None:
        """Hold back the start of the response until its first body message."""
        if message["type"] == "http.response.start":
            self.start = message
            return
        if self.start is not None:
            start, self.start = self.start, None
            await self._begin(start, message)
        elif not self.silent:
            await self.send(message)

    async def _begin(self, start: Message, body: Message) -> None:
        headers = MutableHeaders(raw=list(start["headers"]))
        complete = not body.get("more_body", False)
        stored = "no-store" not in headers.get("cache-control", "")
        if start["status"] == 200 and complete and stored and "etag" not in headers:
            digest = hashlib.sha256(body.get("body", b"")).hexdigest()
            headers["etag"] = f'"{digest[:_DIGITS]}"'
        private = self.scope["path"].startswith("/api/")
        headers.setdefault("cache-control", "private, no-cache" if private else "no-cache")
        # 416: a range is looked at only after the preconditions are met.
        known = start["status"] in (200, 206, 416) and "etag" in headers
        status = evaluate(self.request, headers, safe=True) if known else None
        if status == 412:
            self.silent = True
            response = _failed()
            await self.send({**start, "status": 412, "headers": response.raw_headers})
            body = {"type": "http.response.body", "body": response.body}
        elif status == 304:
            self.silent = True
            for name in _BODY_HEADERS:
                del headers[name]
            await self.send({**start, "status": 304, "headers": headers.raw})
            body = {"type": "http.response.body", "body": b""}
        else:
            await self.send({**start, "headers": headers.raw})
        if self.scope.get(HEAD_ONLY):
            self.silent = True
            body = {"type": "http.response.body", "body": b""}
        await self.send(body)


def _failed() -> JSONResponse:
    return problem_response(412, title="Precondition failed", kind="precondition-failed")


def evaluate(request: Headers, current: Mapping[str, str], *, safe: bool) -> int | None:
    """Return 304 or 412 if the preconditions of `request` demand it (RFC 9110 §13.2.2).

    `current` holds the validators of the response that would be sent.
    """
    etag = current.get("etag", "")
    modified = _date(current.get("last-modified", ""))
    if "if-match" in request:
        matches = _tags(request, "if-match")
        if "*" not in matches and (etag.startswith("W/") or etag not in matches or not etag):
            return 412
    elif modified is not None:
        limit = _date(request.get("if-unmodified-since", ""))
        if limit is not None and modified > limit:
            return 412
    if "if-none-match" in request:
        tags = {tag.removeprefix("W/") for tag in _tags(request, "if-none-match")}
        if "*" in tags or (etag and etag.removeprefix("W/") in tags):
            return 304 if safe else 412
    elif safe and modified is not None:
        limit = _date(request.get("if-modified-since", ""))
        if limit is not None and modified <= limit:
            return 304
    return None


def _tags(request: Headers, name: str) -> set[str]:
    text = ",".join(request.getlist(name))
    return {"*"} if text.strip() == "*" else set(_TAG.findall(text))


def _date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None  # an invalid date is ignored
    return parsed if parsed.tzinfo is not None else None
