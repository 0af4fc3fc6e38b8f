"""A server that receives webhooks, and verifies them as the Standard Webhooks specification says.

Nothing here is imported from the service.
"""

import base64
import contextlib
import hmac
import json
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE_S = 300
Respond = Callable[[BaseHTTPRequestHandler], object]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes

    @property
    def id(self) -> str:
        """Return what tells repeats."""
        return self.headers["webhook-id"]

    def json(self) -> Any:
        """Return the message."""
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        """Return whether one of the signatures is that of `secret`."""
        prefix, _, encoded = secret.partition("_")
        key = base64.b64decode(encoded, validate=True)
        timestamp = self.headers["webhook-timestamp"]
        if prefix != "whsec" or not 24 <= len(key) <= 64 or "." in self.id + timestamp:
            return False
        signed = f"{self.id}.{timestamp}.".encode() + self.body
        wanted = base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
        versions = [each.split(",", 1) for each in self.headers["webhook-signature"].split(" ")]
        return any(
            version == "v1" and hmac.compare_digest(signature, wanted)
            for version, signature in versions
        )

    def is_recent(self) -> bool:
        """Return whether the time of the attempt is about now."""
        return abs(int(self.headers["webhook-timestamp"]) - time.time()) < TOLERANCE_S


def status(code: int, **headers: str) -> Respond:
    """Return a response without a body; underscores in names stand for hyphens."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return respond


@dataclass
class Receiver:
    """What was received, and how paths respond: with each response of the list, then with 204."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    responses: dict[str, list[Respond]] = field(default_factory=lambda: defaultdict(list))
    in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most_in_flight: int = 0
    """The most requests to one path at a time."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Record a request and respond to it."""
        body = handler.rfile.read(int(handler.headers["content-length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        path = handler.path
        with self.lock:
            self.received.append(Received(path, headers, body))
            self.in_flight[path] += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight[path])
            responses = self.responses[path]
            respond = responses.pop(0) if responses else status(204)
        try:
            with contextlib.suppress(OSError):
                respond(handler)
        finally:
            with self.lock:
                self.in_flight[path] -= 1

    def to(self, path: str) -> list[Received]:
        """Return what was received for a path, in order."""
        return [each for each in self.received if each.path == path]


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver on loopback, with TLS if there is a context."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.handle(self)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def finish_request(self, request: Any, client_address: Any) -> None:
            if context is not None:
                try:
                    request = context.wrap_socket(request, server_side=True)
                except OSError:
                    return
            super().finish_request(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http" if context is None else "https"
    receiver.url = f"{scheme}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
