"""Proxies, waits and the addresses that count as this machine."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.registry.http_proxy import is_loopback
from tools.registry.transport import (
    CancelledError,
    Options,
    Response,
    Transport,
    TransportError,
    retry_after,
    without_query,
)

_FIN_WAIT_2 = 5  # linux/tcp_states.h


@contextmanager
def _proxy(seen: list[tuple[str, str, str | None]]) -> Iterator[int]:
    """A forward proxy that notes what it is asked for and answers 200, or refuses to tunnel."""

    class Handler(BaseHTTPRequestHandler):
        def _note(self) -> None:
            seen.append((self.command, self.path, self.headers.get("Proxy-Authorization")))

        def do_GET(self) -> None:
            self._note()
            self.send_response_only(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def do_CONNECT(self) -> None:
            self._note()
            self.send_response_only(403, "not here")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _get(url: str, **environ: str) -> Response:
    transport = Transport(Options(retries=0, environ=environ))
    return transport.request("GET", url, headers={})


def test_plain_http_goes_through_the_proxy_with_the_absolute_url() -> None:
    seen: list[tuple[str, str, str | None]] = []
    with _proxy(seen) as port:
        answer = _get("http://reg.example/v2/?a=b", http_proxy=f"http://127.0.0.1:{port}")
    assert answer.body == b"ok"
    assert seen == [("GET", "http://reg.example/v2/?a=b", None)]


def test_a_proxy_for_plain_http_gets_credentials() -> None:
    seen: list[tuple[str, str, str | None]] = []
    with _proxy(seen) as port:
        _get("http://reg.example/", HTTP_PROXY=f"user:p%40ss@127.0.0.1:{port}")
    assert seen == [("GET", "http://reg.example/", "Basic dXNlcjpwQHNz")]


def test_https_tunnels_through_the_proxy_with_its_password() -> None:
    seen: list[tuple[str, str, str | None]] = []
    with _proxy(seen) as port, pytest.raises(TransportError, match="403 not here"):
        _get("https://reg.example/v2/", HTTPS_PROXY=f"http://user:p%40ss@127.0.0.1:{port}")
    assert seen == [("CONNECT", "reg.example:443", "Basic dXNlcjpwQHNz")]


@pytest.mark.parametrize("no_proxy", ["reg.example", ".example", "*", "a, reg.example:1"])
def test_hosts_without_proxy_are_reached_directly(no_proxy: str) -> None:
    seen: list[tuple[str, str, str | None]] = []
    with _proxy(seen) as port, pytest.raises(TransportError, match=r"reg\.example"):
        _get("http://reg.example:1/", http_proxy=f"http://127.0.0.1:{port}", NO_PROXY=no_proxy)
    assert seen == []


def test_this_machine_is_never_reached_through_a_proxy() -> None:
    seen: list[tuple[str, str, str | None]] = []
    with _proxy(seen) as port:
        answer = _get(f"http://127.0.0.1:{port}/direct", http_proxy="http://127.0.0.1:1")
    assert answer.status == 200
    assert seen == [("GET", "/direct", None)]


def _response(value: str | None) -> Response:
    headers = Message()
    if value is not None:
        headers["Retry-After"] = value
    return Response(429, "", headers, b"")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("soon", None),
        ("-3", None),
        ("\u00b2", None),
        ("", None),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert retry_after(_response(value)) == seconds


def test_retry_after_may_be_a_date() -> None:
    soon = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < (retry_after(_response(soon)) or 0) <= 61
    past = email.utils.formatdate(0, usegmt=True)
    assert retry_after(_response(past)) == 0


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40))
def test_any_retry_after_is_a_wait_or_none(value: str) -> None:
    seconds = retry_after(_response(value))
    assert seconds is None or seconds >= 0


@given(st.integers(min_value=0, max_value=10**30), st.sampled_from(["", " ", "\t"]))
def test_any_count_of_seconds_is_read(seconds: int, blank: str) -> None:
    assert retry_after(_response(f"{blank}{seconds}{blank}")) == float(seconds)


@given(st.integers(min_value=0, max_value=10_000_000), st.booleans())
def test_any_future_date_is_waited_for(seconds: int, usegmt: bool) -> None:
    # Both ways to write it name the same moment, whatever the zone of this machine.
    wait = retry_after(_response(email.utils.formatdate(time.time() + seconds, usegmt=usegmt)))
    assert wait is not None
    assert seconds - 2 <= wait <= seconds + 1


@given(st.integers(min_value=1, max_value=500))
def test_a_backoff_is_at_most_half_a_minute(attempt: int) -> None:
    assert 0 < Transport(Options()).delay(attempt, None) <= 30


def test_a_stale_connection_is_not_reused() -> None:
    served: list[int] = []
    connections: list[socket.socket] = []
    warnings: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.append(self.client_address[1])
            connections.append(self.connection)
            self.send_response_only(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        transport = Transport(Options(retries=0), warn=warnings.append)
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        for _ in range(2):
            assert transport.request("GET", url, headers={}).status == 200
        connections[-1].shutdown(socket.SHUT_WR)
        _wait_until_the_peer_knows(connections[-1])
        assert transport.request("GET", url, headers={}).status == 200
    finally:
        server.shutdown()
        server.server_close()
    assert served[0] == served[1] != served[2]
    assert warnings == []


def _wait_until_the_peer_knows(connection: socket.socket) -> None:
    """Wait until the other end's kernel has acknowledged the end of this one."""
    end = time.monotonic() + 30
    while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _FIN_WAIT_2:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_waits_double_up_to_a_limit() -> None:
    transport = Transport(Options(first_delay=1.0))
    for attempt, least, most in ((1, 0.75, 1.25), (3, 3.0, 5.0), (20, 30.0, 30.0)):
        assert least <= transport.delay(attempt, None) <= most
    assert transport.delay(1, 12.0) == 12.0


def test_a_cancelled_transport_does_not_wait() -> None:
    transport = Transport(Options())
    threading.Timer(0.1, transport.cancel).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        transport.pause(30)
    assert time.monotonic() - started < 5
    with pytest.raises(CancelledError):
        transport.request("GET", "http://127.0.0.1:1/", headers={})


def test_urls_are_shown_without_their_query() -> None:
    assert without_query("https://h/p?_state=secret") == "https://h/p"
    assert is_loopback("127.1.2.3")
    assert is_loopback("localhost")
    assert not is_loopback("localhost.example")
