"""A reverse proxy on loopback that injects faults and records requests.

A function of the test decides on each request's fault. Requests without one reach the real registry
behind it, byte for byte.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Fault:
    """What to do instead of passing a request on.

    `status` answers with it; `extra_headers` are added to the registry's answer; `reset_after`
    passes that many bytes of the body on and then resets the connection; `keep` does so too, but
    the registry keeps those bytes and tells how many it has (distribution-spec 1.1: GET of the
    upload); `cut_after` ends the connection after that many bytes of the answer's body; `delay`
    waits so many seconds for every block of the body, `answer_delay` before the answer.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    extra_headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset_after: int | None = None
    cut_after: int | None = None
    keep: int | None = None
    delay: float = 0.0
    answer_delay: float = 0.0


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; `count` says how many of its method came before it."""

    method: str
    path: str
    count: int
    length: int
    authorization: str | None
    range: str | None = None
    content_range: str | None = None


@dataclass
class Proxy:
    """A running proxy; `seen` grows."""

    port: int
    seen: list[Seen]

    @property
    def host(self) -> str:
        """Host and port, as in a repository's name."""
        return f"127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        """The methods of the requests so far."""
        return [each.method for each in self.seen]


@contextmanager
def proxying(
    upstream: int,
    decide: Callable[[Seen], Fault | None],
    *,
    handler: type[FaultyHandler] | None = None,
) -> Iterator[Proxy]:
    """Run a proxy before the registry on port `upstream`; `handler` may change what it does."""
    seen: list[Seen] = []
    lock = threading.Lock()

    class Handler(handler or FaultyHandler):  # type: ignore[misc]
        def decide(self) -> Fault | None:
            with lock:
                count = sum(1 for each in seen if each.method == self.command)
                length = int(self.headers.get("Content-Length") or 0)
                request = Seen(
                    self.command,
                    self.path,
                    count,
                    length,
                    self.headers.get("Authorization"),
                    self.headers.get("Range"),
                    self.headers.get("Content-Range"),
                )
                seen.append(request)
            return decide(request)

    Handler.upstream = upstream
    Handler.kept = {}
    server = _QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Proxy(port=server.server_address[1], seen=seen)
    finally:
        server.shutdown()
        server.server_close()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing of connections that end early: they are this proxy's purpose."""


class FaultyHandler(BaseHTTPRequestHandler):
    """Passes requests on to the registry on port `upstream`, except for the faults decided on."""

    protocol_version = "HTTP/1.1"
    upstream = 0
    # Where uploads go on that were cut off: by the address the client knows, the one it does not.
    kept: ClassVar[dict[str, str]] = {}

    def decide(self) -> Fault | None:
        raise NotImplementedError

    def _handle(self) -> None:
        fault = self.decide()
        if fault is not None and fault.status is not None:
            self._answer(fault.status, dict(fault.headers), fault.body)
            return
        if fault is not None and fault.keep is not None:
            self._keep(fault.keep)
            return
        self._pass_on(fault or Fault())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return the registry's response to the request with the body `data`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        connection.request(self.command, self.path, body=data, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), body

    def _keep(self, count: int) -> None:
        """Give the registry the first bytes of a piece as a piece of their own, then reset."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        headers = {"Content-Type": "application/octet-stream"}
        connection.request(self.command, self.path, body=self.rfile.read(count), headers=headers)
        location = connection.getresponse().headers["Location"]
        self.kept[self.path] = (
            urllib.parse.urlsplit(location)._replace(scheme="", netloc="").geturl()
        )
        connection.close()
        self._reset()

    def _pass_on(self, fault: Fault) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        path = self.kept.get(self.path, self.path)
        connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        left = int(self.headers.get("Content-Length") or 0)
        passed = 0
        while left:
            limit = _BLOCK if fault.reset_after is None else fault.reset_after - passed
            if limit <= 0:
                connection.close()
                self._reset()
                return
            block = self.rfile.read(min(left, _BLOCK, limit))
            if not block:
                break
            connection.send(block)
            time.sleep(fault.delay)
            left -= len(block)
            passed += len(block)
        if fault.reset_after is not None:
            # The request arrives whole; only its answer is lost.
            connection.getresponse().read()
            connection.close()
            self._reset()
            return
        answer = connection.getresponse()
        body = answer.read()
        time.sleep(fault.answer_delay)
        headers = dict(answer.getheaders()) | fault.extra_headers
        connection.close()
        self._answer(answer.status, headers, body, cut_after=fault.cut_after)

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, cut_after: int | None = None
    ) -> None:
        self.send_response_only(status)
        lengths = {name.lower() for name in headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in lengths:
            self.send_header("Content-Length", str(len(body)))
        # An upload that was not read to its end would be taken for the next request.
        self.close_connection = self.command in ("PATCH", "PUT", "POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut_after])
        if cut_after is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _reset(self) -> None:
        """End the connection with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the test's output is for failures."""
