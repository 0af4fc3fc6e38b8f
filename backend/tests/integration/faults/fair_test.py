"""One client must not starve the others: readers that never read, too many connections, slow work.

The greedy clients come from 127.0.0.2 and 127.0.0.3: the service takes 127.0.0.1 for a proxy, as
uvicorn does.
"""

import contextlib
import fcntl
import json
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import clips, servers, web
from tests.support.audit import VIDEOS
from tests.support.servers import Process, eventually

GREEDY, OTHER = "127.0.0.2", "127.0.0.3"
IDLE_S = 1
TOTAL, PER_CLIENT = 60, 25
HEALTH_S = 1.0
TOTAL_OF_500 = 90  # those that are not reserved, two for each connection


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Process]]:
    home = tmp_path_factory.mktemp("fair")
    variables = {
        "RESPONSE_IDLE_TIMEOUT": str(IDLE_S),
        "MAX_CONNECTIONS": str(TOTAL),
        "MAX_CLIENT_CONNECTIONS": str(PER_CLIENT),
        "PICTURE_MEGAPIXELS": "100",  # 11 frames of 4096 x 2160 pixels
    }
    # The soft limit is below what the service needs.
    with servers.api(
        home / "data", log=home / "log", variables=variables, within=with_descriptors(128, 1024)
    ) as (url, process):
        yield url, home / "data", process
        assert process.popen.poll() is None, process.output()


def with_descriptors(soft: int, hard: int) -> list[str]:
    """Return a command that runs another with these limits on open files."""
    limits = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"
    code = f"import os, resource, sys; {limits}; os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", code]


def connect(url: str, *, source: str = GREEDY, buffer: int | None = None) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(30)
    connection.bind((source, 0))
    connection.connect((host, int(port)))
    return connection


def request(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def ask(url: str, path: str, *headers: str, source: str = GREEDY) -> bytes:
    with connect(url, source=source) as connection:
        connection.sendall(request(path, "Connection: close", *headers))
        return read(connection)


def read(connection: socket.socket) -> bytes:
    response = b""
    while chunk := connection.recv(65536):
        response += chunk
    return response


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection, without reading from it."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state in (7, 8)  # closed by RST; the other side has sent FIN


def assert_healthy(url: str, *, source: str = OTHER) -> None:
    began = time.monotonic()
    response = ask(url, "/health", source=source)
    assert status(response) == 200, response
    assert time.monotonic() - began < HEALTH_S


def assert_all_dropped(connections: list[socket.socket], *, process: Process) -> None:
    began = time.monotonic()
    eventually(lambda: all(map(is_closed, connections)), timeout=30)
    assert time.monotonic() - began < 10 * IDLE_S
    for connection in connections:
        connection.close()
    assert_no_errors(process)


def assert_no_errors(process: Process) -> None:
    assert [line for line in process.output().splitlines() if '"level": "error"' in line] == []


@pytest.fixture(scope="module")
def large(service: tuple[str, Path, Process], heavy_clip: Path) -> str:
    """Return the path of a video too large for the buffers between server and client."""
    url, _, _ = service
    padded = heavy_clip.read_bytes() + (16 * 1024**2).to_bytes(4, "big") + b"free"
    content = padded + bytes(16 * 1024**2 - 8)
    reply = web.post(f"{url}{VIDEOS}?analyse=false", files={"file": ("a.mp4", content)}, timeout=60)
    return f"{VIDEOS}/{reply.json()['id']}"


def waiting_analyses(url: str, video: str, number: int) -> list[str]:
    return [
        web.post(f"{url}{video}/analyses", json={"sensitivity": each / number}).json()["id"]
        for each in range(number)
    ]


@pytest.mark.parametrize("kind", ["file", "ranges", "pipelined"])
def test_clients_that_never_read_are_dropped(
    service: tuple[str, Path, Process], large: str, kind: str
) -> None:
    url, _, process = service
    sent = {
        "file": request(f"{large}/content"),
        "ranges": request(f"{large}/content", "Range: bytes=0-9,100-15000000"),
        "pipelined": request("/openapi.json") * 12,
    }[kind]
    connections = [connect(url, buffer=4096) for _ in range(20)]
    for connection in connections:
        connection.sendall(sent)
    assert_healthy(url)
    assert_all_dropped(connections, process=process)


def test_streams_of_clients_that_never_read_are_dropped(
    service: tuple[str, Path, Process], large: str
) -> None:
    url, _, process = service
    ids = waiting_analyses(url, large, 40)
    for each in ids:
        web.post(f"{url}/api/v1/analyses/{each}/cancel")
    follow = request("/api/v1/progress?" + "&".join(f"analysis={each}" for each in ids))
    connections = [connect(url, buffer=4096) for _ in range(10)]
    for connection in connections:
        connection.sendall(follow * 16)  # so many fill the buffers
    assert_all_dropped(connections, process=process)


def test_slow_reader_is_served_as_long_as_it_reads(
    service: tuple[str, Path, Process], large: str
) -> None:
    url, _, _ = service
    with connect(url, buffer=4096) as connection:
        connection.sendall(request(f"{large}/content"))
        received, began = 0, time.monotonic()
        while time.monotonic() - began < 3 * IDLE_S:
            received += len(connection.recv(4096))
            time.sleep(0.05)
        assert not is_closed(connection)
        assert received > 3 * IDLE_S * 1024


def test_pictures_that_cost_too_much_are_refused_and_do_not_delay_those_of_others(
    service: tuple[str, Path, Process], clip: Path, tmp_path: Path
) -> None:
    url, _, _ = service

    def stored(path: Path) -> str:
        files = {"file": (path.name, path.read_bytes())}
        reply = web.post(f"{url}{VIDEOS}?analyse=false", files=files, timeout=60)
        return f"{VIDEOS}/{reply.json()['id']}/thumbnail"

    costly, cheap = stored(clips.skipped(tmp_path / "4k.mp4", frames=24)), stored(clip)
    greedy = [connect(url) for _ in range(8)]
    for number, connection in enumerate(greedy):
        path = f"{costly}?time=0.{number % 2 + 2}&width={160 << number // 4}"
        connection.sendall(request(path, "Connection: close"))
    began = time.monotonic()
    assert status(ask(url, f"{cheap}?time=1", source=OTHER)) == 200
    first = time.monotonic() - began
    reason = b"needs more than 100 million pixels to be decoded"
    for connection in greedy:
        response = read(connection)
        assert (status(response), reason in response) == (409, True)
        connection.close()
    assert first < time.monotonic() - began
    # Nothing of that video is tried again, also not at other times.
    began = time.monotonic()
    for tenth in range(2, 4):
        for width in (160, 320, 640):
            again = ask(url, f"{costly}?time=0.{tenth}&width={width}")
            assert (status(again), reason in again) == (409, True)
    assert time.monotonic() - began < 1


def test_pipelined_requests_and_trailers_are_bounded(
    service: tuple[str, Path, Process], large: str
) -> None:
    url, _, process = service
    with connect(url) as connection:
        connection.sendall(request("/health/live") * 1000)
        eventually(lambda: is_closed(connection))
    with connect(url) as connection, contextlib.suppress(ConnectionError):
        # Otherwise the kernel takes all of it from us before the service has read any.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        head = f"POST {VIDEOS} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n1\r\n-\r\n0\r\n"
        connection.sendall(head.encode())
        for _ in range(2000):
            connection.sendall(b"X: " + b"y" * 1000 + b"\r\n")
        pytest.fail("2 MB of trailers were accepted")
    assert_no_errors(process)


def test_health_is_answered_while_every_connection_is_taken(
    service: tuple[str, Path, Process],
) -> None:
    url, _, _ = service
    held: list[socket.socket] = []
    for number in range(5):
        # Also beyond the lane, whose oldest connections go.
        held += [connect(url, source=f"127.0.1.{number}") for _ in range(PER_CLIENT)]
    for source in (OTHER, "127.0.0.1", "127.0.1.1"):
        assert_healthy(url, source=source)
        refused = ask(url, VIDEOS, source=source)
        assert (status(refused), b"All 60 connections are in use." in refused) == (503, True)
        assert b"retry-after: 1" in refused
    for connection in held:
        connection.close()
    eventually(lambda: status(ask(url, VIDEOS, source=OTHER)) == 200)


def test_one_client_leaves_connections_for_others(service: tuple[str, Path, Process]) -> None:
    url, _, _ = service
    held = [connect(url) for _ in range(PER_CLIENT)]
    refused = ask(url, VIDEOS)
    assert (status(refused), b"127.0.0.2 holds 25 connections" in refused) == (503, True)
    assert status(ask(url, VIDEOS, source=OTHER)) == 200
    for connection in held:
        connection.close()
    eventually(lambda: status(ask(url, VIDEOS)) == 200)


def test_clients_behind_a_proxy_are_told_apart(
    service: tuple[str, Path, Process], large: str
) -> None:
    url, _, _ = service
    analysis = waiting_analyses(url, large, 1)[0]
    follow = f"/api/v1/analyses/{analysis}/progress"
    streams = [connect(url, source="127.0.0.1") for _ in range(PER_CLIENT)]
    for stream in streams:
        stream.sendall(request(follow, "X-Forwarded-For: 2001:db8::1"))
        assert stream.recv(100).startswith(b"HTTP/1.1 200")
    same, other = "X-Forwarded-For: 2001:db8::2", "X-Forwarded-For: 2001:db9::1"
    refused = ask(url, VIDEOS, same, source="127.0.0.1")
    assert (status(refused), b"2001:db8::/64" in refused) == (429, True)
    assert status(ask(url, VIDEOS, other, source="127.0.0.1")) == 200
    for stream in streams:
        stream.close()
    eventually(lambda: status(ask(url, VIDEOS, same, source="127.0.0.1")) == 200)


def test_descriptors_are_raised_and_bound_the_connections(
    service: tuple[str, Path, Process], tmp_path: Path
) -> None:
    _, _, process = service
    limits = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    assert limits == (1024, 1024)
    within = with_descriptors(256, 500)
    with servers.api(tmp_path / "data", log=tmp_path / "log", within=within) as (_, few):
        started = next(line for line in few.output().splitlines() if "service.started" in line)
        assert (json.loads(started)["connections"], json.loads(started)["descriptors"]) == (
            TOTAL_OF_500,
            500,
        )


def test_health_is_answered_while_the_database_is_locked_and_every_thread_waits_for_it(
    service: tuple[str, Path, Process], large: str
) -> None:
    url, data, _ = service
    analysis = waiting_analyses(url, large, 1)[0]
    blocked: list[socket.socket] = []
    with (data / "backend.db-shm").open("r+b") as locks:
        # Every lock of SQLite's log (https://www.sqlite.org/walformat.html), for readers, too.
        fcntl.lockf(locks, fcntl.LOCK_EX, 8, 120)
        for number in range(50):
            connection = connect(url, source=f"127.0.2.{number % 2}")
            blocked.append(connection)
            cancel = request(f"/api/v1/analyses/{analysis}/cancel").replace(b"GET", b"POST", 1)
            connection.sendall(cancel)
        ask(url, "/health/live", source=OTHER)  # now they are all being handled
        seconds, response = [], b""
        while b"no answer for" not in response:
            began = time.monotonic()
            response = ask(url, "/health", source=OTHER)
            seconds.append(time.monotonic() - began)
            assert status(response) in (200, 503)
        assert max(seconds) < HEALTH_S
        assert (status(response), sum(seconds) > 1) == (503, True)
    for connection in blocked:
        connection.close()
    eventually(lambda: status(ask(url, "/health", source=OTHER)) == 200)
