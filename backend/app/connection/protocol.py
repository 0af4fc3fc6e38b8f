"""One HTTP connection, and the headers of every response.

uvicorn waits forever for headers that never end, buffers headers and trailers of any size and any
number of pipelined requests, and keeps a response for a client that never reads it. REQUEST_TIMEOUT
limits the time for headers, RESPONSE_IDLE_TIMEOUT the time without progress in sending a response.
Idle keep-alive connections are closed by uvicorn's own `--timeout-keep-alive`.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.connection.limits import LANE, STATE, Connections
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
# Requests that may wait for the response to an earlier one. Browsers and libraries send none.
MAX_PIPELINED = 16
# Bytes per second. A slower client is tying up a connection, not reading a response.
MINIMUM_RATE = 1024
# For connections that may only ask for the service's health.
LANE_TIMEOUT_S = 2.0
_RESET = struct.pack("ii", 1, 0)  # socket(7): SO_LINGER, on, for no time


class _Counted:
    """A transport that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._write = transport.write
        self.is_closing = transport.is_closing
        self.close = transport.close
        self.abort = transport.abort
        self.written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write to the transport."""
        self.written += len(data)
        self._write(data)

    def unsent(self) -> int:
        """Return how many bytes the client's machine has not acknowledged yet."""
        left: int = self._transport.get_write_buffer_size()
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
                left += int(struct.unpack("i", answer)[0])
        return left


class Connection(HttpToolsProtocol):
    """Close the connection of a client that sends too slowly or too much, or does not read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Accept uvicorn's arguments; `app_state` is the state yielded by the lifespan."""
        super().__init__(*arguments, **named)
        self._timeout: float = self.app_state[TIMEOUT]
        self._all: Connections = self.app_state[STATE]
        self._refusal: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of incomplete headers
        self._between = 0  # bytes of framing and trailers since the last byte of the body
        self._in_body = False
        self._handled: Any = None
        """The request that is being handled, or was last; uvicorn's `cycle` may wait behind it."""
        self._window: tuple[float, int] | None = None
        """Until when how many bytes must have been sent in all; None if nothing waits."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; start the timer for the first request."""
        super().connection_made(transport)
        self._counted = _Counted(transport)
        self.transport = self._counted  # type: ignore[assignment]
        # What uvicorn is told by --forwarded-allow-ips.
        proxies = getattr(self.config.loaded_app, "trusted_hosts", ())
        host = self.client[0] if self.client else None
        self._refusal = self._all.admit(self, host=host, proxies=proxies)
        if self._refusal is not None:
            self._timeout = min(self._timeout, LANE_TIMEOUT_S)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        self._all.remove(self)
        self._disconnect()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; restart the timer if the next request's headers are incomplete."""
        in_head = self._idle() and not self._in_body
        self._between += len(data)
        super().data_received(data)
        if self._in_body and self._between > HEAD_LIMIT:
            self.abort()  # no place for an error: a response may have begun
        if not self._idle():
            return
        # This also limits the rest of a body whose request was answered early.
        self._start_timer()
        if in_head and not self._in_body:
            self._head += len(data)
            if self._head > HEAD_LIMIT:
                self._reject(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Note whether only the service's health may be asked for."""
        super().on_message_begin()
        if self._refusal is not None:
            self.scope["state"][LANE] = self._refusal

    def on_headers_complete(self) -> None:
        """Stop the timer: the request begins."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self.abort()
        if self.transport.is_closing():
            return
        self._stop_timer()
        self._head, self._in_body = 0, True
        self._between = 0
        super().on_headers_complete()
        if self._refusal is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass the body on, unless the connection is being closed."""
        self._between = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the body; the next bytes are headers."""
        self._in_body = False
        if not self.transport.is_closing():
            super().on_message_complete()

    def stalls(self, now: float) -> bool:
        """Return whether (almost) nothing of what waits was sent for the timeout's length.

        To be called often: what was sent completely between two calls never waited.
        """
        waiting = self._counted.unsent()
        if not waiting:
            self._window = None
            return False
        sent = self._counted.written - waiting
        if self._window is not None:
            ends, wanted = self._window
            if now < ends:
                return False
            if sent < wanted:
                return True
        length = self._all.write_timeout
        self._window = now + length, sent + min(waiting, round(MINIMUM_RATE * length))
        return False

    def abort(self) -> None:
        """Close the connection without sending what waits, not even by the kernel."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile, or not TCP
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
        self._disconnect()

    def busy(self) -> bool:
        """Return whether a request is being handled."""
        return not self._idle()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._handled = cycle
        super()._start_asgi_task(cycle, app)

    def _disconnect(self) -> None:
        # uvicorn tells only the latest of pipelined requests; the others would use the connection.
        self.pipeline.clear()
        if self._handled is not None and not self._handled.response_complete:
            self._handled.disconnected = True
            self._handled.message_event.set()
        self.flow.resume_writing()

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
