"""Against a real HTTP server on loopback."""

import base64
import http.server
import threading
from collections.abc import Iterator

import pytest

from tools.apt.fetch import FetchError, first_good, read_url

_WANTED = "Basic " + base64.b64encode(b"me:p@ss").decode()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves /open to all, /closed to one user, and cuts /short off."""

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
        if self.path == "/missing":
            self.send_error(404)
        elif self.path == "/closed" and self.headers["Authorization"] != _WANTED:
            self.send_error(401)
        else:
            self.send_response(200)
            self.send_header("Content-Length", "100" if self.path == "/short" else "7")
            self.end_headers()
            self.wfile.write(b"content")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as inherited)
        """Keep the test's output free of the server's log."""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Return HOST:PORT of a running server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_content_is_read(host: str) -> None:
    assert read_url(f"http://{host}/open", limit=7) == b"content"


def test_user_and_password_of_a_mirror_are_sent(host: str) -> None:
    assert read_url(f"http://me:p%40ss@{host}/closed", limit=7) == b"content"


def test_a_password_is_never_shown(host: str) -> None:
    with pytest.raises(FetchError) as caught:
        first_good(
            [f"http://me:secret@{host}/closed", f"http://me:secret@{host}/open"],
            what="Packages",
            limit=7,
            check=lambda content: "is wrong",
        )
    assert f"http://{host}/closed: HTTP Error 401" in str(caught.value)
    assert f"http://{host}/open: is wrong" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing", "HTTP Error 404"), ("short", "broke off after 7 of 100"), ("open", "larger than the 6")],
)
def test_a_failure_names_address_and_reason(host: str, path: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        read_url(f"http://{host}/{path}", limit=6 if path == "open" else 1000)
    assert f"http://{host}/{path}: {reason}" in str(caught.value)


def test_the_first_mirror_with_good_content_is_used(host: str) -> None:
    urls = [f"http://{host}/missing", f"http://{host}/open"]
    content = first_good(urls, what="Packages", limit=7, check=lambda content: None)
    assert content == b"content"
