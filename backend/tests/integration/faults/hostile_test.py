"""Malicious and stalled clients: the service keeps working and cleans up."""

import contextlib
import select
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support import audit, clips, programs, servers, web
from tests.support.audit import VIDEOS
from tests.support.servers import Process, eventually

IDLE_S = 2
REQUEST_S = 4
BYTE_S = 0.2  # between the bytes of a client that trickles


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Process]]:
    """Run one service for all tests of this module."""
    home = tmp_path_factory.mktemp("hostile")
    variables = {
        "UPLOAD_IDLE_TIMEOUT": str(IDLE_S),
        "REQUEST_TIMEOUT": str(REQUEST_S),
        "UVICORN_TIMEOUT_KEEP_ALIVE": "60",
        "ANALYSIS_MEMORY": "1GiB",
        "ALLOWED_HOSTS": "a",
    }
    with servers.api(home / "data", log=home / "log", variables=variables) as (url, process):
        yield url, home / "data", process
        assert process.popen.poll() is None, process.output()


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(url: str, request: bytes) -> bytes:
    """Send raw bytes and return the whole response."""
    with connect(url) as connection:
        connection.sendall(request)
        response = b""
        while chunk := connection.recv(65536):
            response += chunk
        return response


def upload_head(length: int) -> bytes:
    return (
        f"POST {VIDEOS} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    ).encode()


def incoming(data: Path) -> list[Path]:
    return list((data / "incoming").iterdir())


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def trickle(url: str, slow: list[socket.socket], *, byte: bytes, timeout: float) -> list[bytes]:
    """Send single bytes until all connections are closed; return their responses.

    Check meanwhile that other clients are served.
    """
    deadline = time.monotonic() + timeout
    waiting, responses = set(slow), []
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} connections are still open"
        assert web.get(url + VIDEOS, timeout=10).status_code == 200
        for connection in waiting:
            with contextlib.suppress(OSError):  # closed; its response is read below
                connection.sendall(byte)
        for connection in select.select(waiting, [], [], BYTE_S)[0]:
            try:
                responses.append(connection.recv(65536))
            except OSError:  # closed while our last byte was in flight
                responses.append(b"")
            waiting.discard(connection)
    return responses


def test_slow_uploads_are_dropped_while_other_clients_are_served(
    service: tuple[str, Path, Process],
) -> None:
    url, data, _ = service
    slow = [connect(url) for _ in range(100)]
    for connection in slow:
        connection.sendall(upload_head(10_000_000))
    eventually(lambda: len(incoming(data)) == len(slow))
    responses = trickle(url, slow, byte=b"x", timeout=10 * IDLE_S)
    assert {status(response) for response in responses if response} == {408}
    eventually(lambda: incoming(data) == [])
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    ("begin", "byte"),
    [
        (b"GET /", b"x"),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nX: ", b"y"),
        (b"", b"\n"),
        (b"POST /api/v1/imports HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n", b"["),
    ],
)
def test_incomplete_requests_time_out_while_other_clients_are_served(
    service: tuple[str, Path, Process], begin: bytes, byte: bytes
) -> None:
    url, _, process = service
    slow = [connect(url) for _ in range(50)]
    for connection in slow:
        connection.sendall(begin)
    responses = trickle(url, slow, byte=byte, timeout=10 * REQUEST_S)
    assert {status(response) for response in responses if response} == {408}
    for connection in slow:
        connection.close()
    assert '"level": "error"' not in process.output()


def test_silent_connection_is_closed_and_keep_alive_connection_is_kept(
    service: tuple[str, Path, Process],
) -> None:
    url, _, _ = service
    request = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"

    def serves(connection: socket.socket) -> None:
        connection.sendall(request)
        response = b""
        while not response.endswith(b"}"):
            response += connection.recv(65536)
        assert status(response) == 200

    with connect(url) as silent, connect(url) as kept:
        silent.settimeout(0.2)
        serves(kept)
        while True:
            with contextlib.suppress(TimeoutError):
                assert silent.recv(1) == b""
                break
            serves(kept)
        serves(kept)
        # The next request has its own timeout, which starts at its first byte.
        kept.sendall(request[:10])
        assert status(kept.recv(65536)) == 408
        assert kept.recv(1) == b""


def test_headers_are_limited_to_64_kib(service: tuple[str, Path, Process]) -> None:
    # uvicorn limits headers only with its other parser, h11.
    url, _, _ = service
    request = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    fits = request + b"X: " + b"y" * 60_000 + b"\r\n\r\n"
    assert status(exchange(url, fits)) == 200
    endless = request + b"X: "
    endless += b"y" * (64 * 1024 + 1 - len(endless))
    assert status(exchange(url, endless)) == 431


def test_aborted_uploads_leave_no_files(
    service: tuple[str, Path, Process],
) -> None:
    url, data, process = service
    for number in range(40):
        connection = connect(url)
        connection.sendall(upload_head(1_000_000) + b"x" * (number * 5000))
        if number % 2:  # send RST instead of FIN
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
    eventually(lambda: incoming(data) == [])
    assert web.get(url + VIDEOS, timeout=10).json()["videos"] == []
    assert '"level": "error"' not in process.output()


def test_aborted_downloads_and_streams_are_cleaned_up(
    service: tuple[str, Path, Process], heavy_clip: Path
) -> None:
    url, _, process = service
    content = heavy_clip.read_bytes()
    video = web.post(url + VIDEOS, files={"file": ("a.mp4", content)}, timeout=60).json()
    follow = f"/api/v1/analyses/{video['analysis']['id']}/progress"
    for path in [f"{VIDEOS}/{video['id']}/content", follow] * 20:
        with connect(url) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")

    def only_this_request() -> bool:
        lines = web.get(f"{url}/metrics", timeout=10).text.splitlines()
        (line,) = [line for line in lines if line.startswith("http_requests_in_progress ")]
        return float(line.split()[1]) == 1

    eventually(only_this_request)
    assert web.delete(f"{url}{VIDEOS}/{video['id']}", timeout=10).status_code == 204
    assert '"level": "error"' not in process.output()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (b"/static/../main.py", {404}),
        (b"/static/..%2f..%2f..%2fetc%2fpasswd", {404}),
        (b"/static/%2e%2e/%2e%2e/etc/passwd", {404}),
        (b"/static//etc/passwd", {404}),
        (b"/api/v1/videos/..%2f..%2fetc%2fpasswd/content", {404, 422}),
        (b"/api/v1/videos/%00/content", {404, 422}),
        (b"/api/v1/videos?sort=created_at;DROP%20TABLE%20videos", {422}),
        (b"/api/v1/videos?name=%27%20OR%201=1--", {200}),
        (b"/api/v1/videos?name=%25%00", {200, 422}),
        (b"/api/v1/videos?name=%ff%fe", {200, 422}),
        (b"/api/v1/videos?cursor=%27%20UNION%20SELECT%201--", {400, 422}),
        (b"/api/v1/videos?cursor=eyJhIjoxfQ", {400}),
        (b"/api/v1/videos?limit=99999999999999999999999999", {422}),
        (b"/api/v1/videos?created_from=9999-12-31T23:59:59-23:59", {422}),
    ],
)
def test_malicious_paths_and_queries_are_harmless(
    service: tuple[str, Path, Process], path: bytes, allowed: set[int]
) -> None:
    url, _, _ = service
    response = exchange(url, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert status(response) in allowed, response
    assert b"root:" not in response
    assert b"DROP" not in response.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "name", ["../../../../app/main.py", "/etc/passwd", "a\0b.mp4", 'a";x="b.mp4', "..", "x" * 5000]
)
def test_malicious_file_names_are_harmless(
    service: tuple[str, Path, Process], clip_dir: Path, name: str
) -> None:
    url, data, _ = service
    small = clip_dir / "name.mp4"
    if not small.exists():
        clips.pattern(small, seconds=1, size="64x64", rate="5")
    head = upload_head(0).replace(b"a.mp4", name.encode().replace(b'"', b'\\"'))
    body = clips.variant(small, zlib.crc32(name.encode())) + b"\r\n--b--\r\n"
    head = head.replace(
        b"Content-Length: 0",
        b"Connection: close\r\nContent-Length: %d"
        % (len(head.partition(b"\r\n\r\n")[2]) + len(body)),
    )
    response = exchange(url, head + body)
    assert status(response) in (201, 400), response
    if status(response) == 201:
        rows = list(audit.iterate(url, VIDEOS, "videos"))
        assert all("/" not in row["filename"] and "\0" not in row["filename"] for row in rows)
        download = web.get(f"{url}{VIDEOS}/{rows[0]['id']}/content", timeout=10)
        assert "attachment" not in download.headers
    assert {path.parent.parent for path in (data / "videos").rglob("*") if path.is_file()} <= {
        data / "videos"
    }


def test_injected_headers_are_not_echoed(service: tuple[str, Path, Process]) -> None:
    url, _, process = service
    for value in (b"a\r\n evil: 1", b"a\x0bevil: 1", b'a"; evil', b"x" * 4000):
        request = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        response = exchange(url, request + b"X-Request-Id: " + value + b"\r\n\r\n")
        assert b"evil" not in response
        assert status(response) in (200, 400)
    assert process.popen.poll() is None


def test_oversized_or_deeply_nested_json_is_rejected(
    service: tuple[str, Path, Process],
) -> None:
    url, _, _ = service
    target = f"{url}{VIDEOS}/00000000-0000-0000-0000-000000000000/analyses"
    kind = {"content-type": "application/json"}

    def chunks() -> Iterator[bytes]:
        yield from [b"[" * 65536] * 64

    assert web.post(target, content=b" " * 10_000_000, headers=kind).status_code == 413
    # The server may respond and close before everything is sent.
    with contextlib.suppress(httpx2.WriteError):
        assert web.post(target, content=chunks(), headers=kind).status_code == 413
    assert web.post(target, content=b"[" * 60_000, headers=kind).status_code == 400
    number = b'{"sensitivity": ' + b"9" * 50_000 + b"}"
    assert web.post(target, content=number, headers=kind).status_code == 400


def test_service_stops_promptly_despite_open_connections(tmp_path: Path) -> None:
    with servers.api(tmp_path / "data", log=tmp_path / "log") as (url, process):
        idle, half_sent = connect(url), connect(url)
        half_sent.sendall(b"GET /health HTTP/1.1\r\nHo")
        kept = web.Client()
        assert kept.get(f"{url}/health").status_code == 200
        began = time.monotonic()
        process.stop()
        # About 0.2 s on an idle machine.
        assert time.monotonic() - began < 5
        kept.close()
        idle.close()
        half_sent.close()


def bomb(target: Path, *, side: int) -> Path:
    """Create a video of a few kilobytes with a frame of `side` x `side` pixels (1-bit PNG)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    packer, row = zlib.compressobj(9), b"\0" * (side // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    image = target.with_suffix(".png")
    image.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    ffmpeg = programs.find("ffmpeg", variable="FFMPEG")
    subprocess.run(
        [ffmpeg, "-v", "error", "-y", "-i", str(image), "-c", "copy", str(target)], check=True
    )
    return target


def test_decompression_bomb_is_rejected_or_fails_with_a_reason(
    service: tuple[str, Path, Process], tmp_path: Path, clip: Path
) -> None:
    url, _, _ = service
    content = bomb(tmp_path / "bomb.mkv", side=16_000).read_bytes()
    assert len(content) < 500_000
    reply = web.post(url + VIDEOS, files={"file": ("bomb.mkv", content)}, timeout=60)
    assert reply.status_code in (201, 415), reply.text

    def ended(video: dict[str, Any]) -> dict[str, Any] | None:
        found = web.get(f"{url}{VIDEOS}/{video['id']}", timeout=10).json()["analysis"]
        return found if found["status"] in audit.FINAL else None

    if reply.status_code == 201:
        analysis = eventually(lambda: ended(reply.json()))
        assert (analysis["status"], analysis["attempts"]) == ("failed", 1)
        assert analysis["reason"]
        thumbnail = web.get(f"{url}{VIDEOS}/{reply.json()['id']}/thumbnail", timeout=60)
        assert thumbnail.status_code == 409, thumbnail.text
    good = web.post(url + VIDEOS, files={"file": ("a.mp4", clip.read_bytes())}, timeout=60)
    assert eventually(lambda: ended(good.json()))["status"] == "done"
