"""uvicorn's HTTP protocol with limits on request headers, and the headers of every response.

uvicorn waits forever for headers that never end, and buffers headers of any size. The image selects
this class through UVICORN_HTTP; REQUEST_TIMEOUT sets the time limit. Idle keep-alive connections
are closed by uvicorn's own `--timeout-keep-alive`.
"""

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.logs import event

TIMEOUT = "request_timeout"  # key in the lifespan state
HEAD_LIMIT = 64 * 1024  # the limit of uvicorn's other parser, h11
REQUEST_ID = "x-request-id"
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Connection(HttpToolsProtocol):
    """Close the connection if request headers arrive too slowly or are too large."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Accept uvicorn's arguments; `app_state` is the state yielded by the lifespan."""
        super().__init__(*arguments, **named)
        self._timeout: float = self.app_state[TIMEOUT]
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of incomplete headers
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; restart the timer if the next request's headers are incomplete."""
        in_head = self._idle() and not self._in_body
        super().data_received(data)
        if not self._idle():
            return
        # This also limits the rest of a body whose request was answered early.
        self._start_timer()
        if in_head and not self._in_body:
            self._head += len(data)
            if self._head > HEAD_LIMIT:
                self._reject(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        """Stop the timer: the request begins."""
        self._stop_timer()
        self._head, self._in_body = 0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of the body; the next bytes are headers."""
        self._in_body = False
        super().on_message_complete()

    def _idle(self) -> bool:
        """Return whether no request is being handled."""
        # Before the first request there is no cycle.
        return bool(getattr(self.cycle, "response_complete", True))

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        # A client that has sent nothing gets no response.
        if self._head:
            self._reject(b"408 Request Timeout")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Respond to what is not HTTP."""
        del msg  # uvicorn has logged it
        self._reject(b"400 Bad Request")

    def _reject(self, status: bytes) -> None:
        if not self.transport.is_closing():
            current = uuid.uuid4().hex
            event(
                "connection.rejected",
                request_id=current,
                client=self.client[0] if self.client else None,
                status=int(status[:3]),
            )
            headers = {**SECURITY_HEADERS, REQUEST_ID: current, "content-length": "0",
                       "connection": "close"}  # fmt: skip
            lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
            self.transport.write(b"".join([b"HTTP/1.1 ", status, b"\r\n", *lines, b"\r\n"]))
            self.transport.close()
