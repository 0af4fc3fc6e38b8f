"""Against a real HTTP server on loopback."""

import base64
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tools.apt.fetch import first_good, read_url
from tools.cli import ToolError

# What a URL may hold, encoded or, since people paste passwords, not.
_PASSWORD = "p@s#s?:[%"
_WANTED = "Basic " + base64.b64encode(f"me:{_PASSWORD}".encode()).decode()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serve /open to all, /closed to one user, cut /short off, and redirect /renamed and /moved."""

    def do_GET(self) -> None:
        authorization = self.headers["Authorization"]
        if self.path == "/missing":
            self.send_error(404)
        elif self.path == "/closed" and authorization != _WANTED:
            self.send_error(401)
        elif self.path in ("/moved", "/renamed"):
            self.send_response(302)
            host, _, port = self.headers["Host"].rpartition(":")
            other = "localhost" if self.path == "/moved" else host
            self.send_header("Location", f"http://{other}:{port}/open")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", "100" if self.path == "/short" else "7")
            self.end_headers()
            self.wfile.write(b"content")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output free of the server's log."""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Return HOST:PORT of a running server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_content_is_read(host: str) -> None:
    assert read_url(f"http://{host}/open", limit=7) == b"content"


@pytest.mark.parametrize("password", [quote(_PASSWORD, safe=""), "p@s#s?:[%25"])
def test_user_and_password_of_a_mirror_are_sent(host: str, password: str) -> None:
    assert read_url(f"http://me:{password}@{host}/closed", limit=7) == b"content"


def test_a_mirror_redirects_within_itself_but_not_to_another_host(host: str) -> None:
    assert read_url(f"http://me:secret@{host}/renamed", limit=7) == b"content"
    with pytest.raises(ToolError) as caught:
        read_url(f"http://me:secret@{host}/moved", limit=7)
    assert str(caught.value).startswith(
        f"http://{host}/moved: redirects to another host, localhost; if that is a mirror of yours"
    )


@pytest.mark.parametrize("password", ["secret", "se@secret", "#secret", "?secret", "[secret"])
def test_a_password_is_never_shown(host: str, password: str) -> None:
    places = {
        f"{host}/closed": "HTTP Error 401",
        f"{host}/missing": "HTTP Error 404",
        f"{host}/short": "broke off after 7 of 100",
        f"{host}/open": "is wrong",
        "127.0.0.1:9/": "Connection refused",
        "127.0.0.1:port/": "nonnumeric port",
        "[127.0.0.1/": "",
    }
    with pytest.raises(ToolError) as caught:
        first_good(
            [f"http://me:{password}@{place}" for place in places],
            what="Packages",
            limit=7,
            check=lambda content: "is wrong",
        )
    lines = str(caught.value).splitlines()[1:-1]
    for line, (place, reason) in zip(lines, places.items(), strict=True):
        assert line.startswith(f"  http://{place}: ")
        assert reason in line
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "HTTP Error 404"),
        ("short", "broke off after 7 of 100"),
        ("open", "larger than the 6"),
    ],
)
def test_a_failure_names_address_and_reason(host: str, path: str, reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        read_url(f"http://{host}/{path}", limit=6 if path == "open" else 1000)
    assert f"http://{host}/{path}: {reason}" in str(caught.value)


def test_the_first_mirror_with_good_content_is_used(host: str) -> None:
    urls = [f"http://{host}/missing", f"http://{host}/open"]
    content = first_good(urls, what="Packages", limit=7, check=lambda content: None)
    assert content == b"content"
