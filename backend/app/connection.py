"""A client's connection: uvicorn's own, with bounds on how long a request takes to begin.

uvicorn waits for ever for a request whose headers never end, and its parser keeps however many
come. It is told of this class by UVICORN_HTTP, which the image sets; how long is REQUEST_TIMEOUT.
An idle connection on which a request was answered ends by uvicorn's own `--timeout-keep-alive`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TIMEOUT = "request_timeout"  # key of the lifespan's state
HEAD_LIMIT = 64 * 1024  # as much as uvicorn's other parser takes


class Connection(HttpToolsProtocol):
    """Closes when the headers of a request do not arrive within the time, or do not end."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take what uvicorn hands over; `app_state` is what the application's lifespan yields."""
        super().__init__(*arguments, **named)
        self._timeout: float = self.app_state[TIMEOUT]
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of a head that has not ended yet
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; then see whether a request is still to begin."""
        in_head = self._waits() and not self._in_body
        super().data_received(data)
        if not self._waits():
            return
        # The rest of a body whose request was answered early is not waited for any longer either.
        self._start_timer()
        if in_head and not self._in_body:
            self._head += len(data)
            if self._head > HEAD_LIMIT:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._stop_timer()
        self._head, self._in_body = 0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request's body; what comes now is the next one's head."""
        self._in_body = False
        super().on_message_complete()

    def _waits(self) -> bool:
        """Tell whether no request is being answered."""
        # Before the first request there is no cycle.
        return bool(getattr(self.cycle, "response_complete", True))

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        # To one that has said nothing there is nothing to answer.
        if self._head:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            end = b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(b"HTTP/1.1 " + status + end)
            self.transport.close()
