"""The container's healthcheck against every kind of response."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.support.servers import BACKEND, free_port

from app import healthcheck


@contextmanager
def serving(status: int, body: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield str(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("variable", ["PORT", "UVICORN_PORT"])
def test_healthy_response_exits_with_0(variable: str) -> None:
    with serving(200, '{"status": "healthy"}') as port:
        assert healthcheck.main({variable: port}) == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, '{"status": "unhealthy"}'),
        (503, '{"status": "healthy"}'),
        (200, '{"status": "unhealthy"}'),
        (200, "<html>some other server</html>"),
        (200, "[]"),
        (200, ""),
    ],
)
def test_any_other_response_exits_with_1_and_is_reported(
    status: int, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(status, body) as port:
        assert healthcheck.main({"PORT": port}) == 1
        assert f"port {port} responded with status {status}" in capsys.readouterr().err


def test_refused_connection_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert healthcheck.main({"PORT": str(free_port())}) == 1
    assert "no response on port" in capsys.readouterr().err


def test_invalid_port_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert healthcheck.main({"PORT": "http"}) == 1
    assert "PORT: 'http' is not a number" in capsys.readouterr().err


def test_healthcheck_imports_only_the_standard_library() -> None:
    program = (
        "import sys; import app.healthcheck; "
        "print([n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names "
        "and n.split('.')[0] not in ('app', '__main__')])"
    )
    finished = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=BACKEND,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.strip() == "[]"
