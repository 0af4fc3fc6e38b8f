"""A real forward proxy: CONNECT tunnels, plain HTTP by absolute URL, Basic authorization.

It resolves every name to this machine, so a client under test must not resolve the name itself.
"""

from __future__ import annotations

import base64
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BLOCK = 1 << 16


@dataclass
class ForwardProxy:
    """A running proxy; `asked` has the method and target of each authorized request."""

    address: str
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, user: str = "", password: str = "") -> str:
        """The value of http_proxy."""
        known = f"{user}:{urllib.parse.quote(password, safe='')}@" if user else ""
        return f"http://{known}{self.address}"


@contextmanager
def forward_proxy(*, user: str, password: str) -> Iterator[ForwardProxy]:
    """Run a proxy that serves one user only."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if self.headers.get("Proxy-Authorization") != expected:
                self.close_connection = True
                self.send_error(407)
                return False
            running.asked.append((self.command, self.path))
            return True

        def do_CONNECT(self) -> None:
            port = int(self.path.rpartition(":")[2])
            upstream = socket.create_connection(("127.0.0.1", port))
            self.send_response_only(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(upstream, self.connection), daemon=True)
            back.start()
            _copy(self.connection, upstream)
            back.join(timeout=10)
            self.close_connection = True

        def _pass_on(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            upstream = http.client.HTTPConnection("127.0.0.1", parts.port)
            target = urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items() if k != "Proxy-Authorization"}
            upstream.request(self.command, target, body=body, headers=headers)
            answer = upstream.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            upstream.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = ForwardProxy(address=f"127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends; then end the target."""
    try:
        while block := source.recv(_BLOCK):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # One side is gone; the other notices.
