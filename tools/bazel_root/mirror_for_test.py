"""A real HTTP server on loopback that serves a directory, truthfully or not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Mirror:
    """The server's address, what it was asked, and how it changes what it sends."""

    url: str
    requests: list[str] = field(default_factory=list)
    wanted_authorization: str | None = None
    change: Callable[[str, bytes], bytes] = lambda path, content: content
    statuses: dict[str, int] = field(default_factory=dict)
    claimed_size: int | None = None
    gate: threading.Event | None = None


@contextmanager
def mirror(directory: Path) -> Iterator[Mirror]:
    """Serves `directory` until the block ends."""
    settings = Mirror(url="")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            settings.requests.append(self.path)
            if settings.gate is not None:
                settings.gate.wait(30)
            path = directory / self.path.lstrip("/")
            status = settings.statuses.get(self.path, 200 if path.is_file() else 404)
            if settings.wanted_authorization not in (None, self.headers["Authorization"]):
                status = 401
            content = settings.change(self.path, path.read_bytes()) if status == 200 else b"sorry"
            self.send_response(status)
            size = len(content) if settings.claimed_size is None else settings.claimed_size
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    settings.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield settings
    finally:
        if settings.gate is not None:
            settings.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
