"""Clients that mean harm, or just hang: the service goes on, answers in words, keeps nothing."""

import contextlib
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
from tests.support import audit, clips, programs, servers
from tests.support.audit import VIDEOS
from tests.support.servers import Process, eventually

IDLE_S = 2
REQUEST_S = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Process]]:
    """Run one service for all of these tests."""
    home = tmp_path_factory.mktemp("hostile")
    variables = {
        "UPLOAD_IDLE_TIMEOUT": str(IDLE_S),
        "REQUEST_TIMEOUT": str(REQUEST_S),
        "UVICORN_TIMEOUT_KEEP_ALIVE": "60",
        "ANALYSIS_MEMORY": "1GiB",
    }
    with servers.api(home / "data", log=home / "log", variables=variables) as (url, process):
        yield url, home / "data", process
        assert process.popen.poll() is None, process.output()


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(url: str, request: bytes) -> bytes:
    """Send bytes as they are and return the whole answer."""
    with connect(url) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def upload_head(length: int) -> bytes:
    return (
        f"POST {VIDEOS} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    ).encode()


def incoming(data: Path) -> list[Path]:
    return list((data / "incoming").iterdir())


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def trickled(url: str, slow: list[socket.socket], *, byte: bytes, patience: float) -> list[bytes]:
    """Send a byte now and then while others are served, until all are closed; return answers."""
    deadline = time.monotonic() + patience
    waiting, answers = set(slow), []
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} still hold on"
        assert httpx2.get(url + VIDEOS, timeout=10).status_code == 200
        for connection in list(waiting):
            connection.settimeout(0.001)
            try:
                connection.sendall(byte)
                answers.append(connection.recv(65536))
            except TimeoutError:
                continue
            except OSError:  # closed with our last byte under way
                answers.append(b"")
            waiting.discard(connection)
    return answers


def test_a_hundred_slow_uploads_are_dropped_while_others_are_served(
    service: tuple[str, Path, Process],
) -> None:
    url, data, _ = service
    slow = [connect(url) for _ in range(100)]
    for connection in slow:
        connection.sendall(upload_head(10_000_000))
    eventually(lambda: len(incoming(data)) == len(slow))
    answers = trickled(url, slow, byte=b"x", patience=10 * IDLE_S)
    assert {status(answer) for answer in answers if answer} == {408}
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
def test_requests_that_never_quite_begin_are_closed_while_others_are_served(
    service: tuple[str, Path, Process], begin: bytes, byte: bytes
) -> None:
    url, _, process = service
    slow = [connect(url) for _ in range(50)]
    for connection in slow:
        connection.sendall(begin)
    answers = trickled(url, slow, byte=byte, patience=10 * REQUEST_S)
    assert {status(answer) for answer in answers if answer} == {408}
    for connection in slow:
        connection.close()
    assert '"level": "error"' not in process.output()


def test_a_connection_that_says_nothing_is_closed_and_a_kept_one_may_go_on(
    service: tuple[str, Path, Process],
) -> None:
    url, _, _ = service
    request = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"

    def serves(connection: socket.socket) -> None:
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert status(answer) == 200

    with connect(url) as silent, connect(url) as kept:
        silent.settimeout(0.2)
        serves(kept)
        while True:
            with contextlib.suppress(TimeoutError):
                assert silent.recv(1) == b""
                break
            serves(kept)
        serves(kept)
        # The next request may be late too, and is timed from its own first byte.
        kept.sendall(request[:10])
        assert status(kept.recv(65536)) == 408
        assert kept.recv(1) == b""


def test_headers_end_at_64_kib(service: tuple[str, Path, Process]) -> None:
    # uvicorn has a bound for its other parser, h11, only.
    url, _, _ = service
    request = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    fits = request + b"X: " + b"y" * 60_000 + b"\r\n\r\n"
    assert status(exchange(url, fits)) == 200
    endless = request + b"X: "
    endless += b"y" * (64 * 1024 + 1 - len(endless))
    assert status(exchange(url, endless)) == 431


def test_clients_that_hang_up_in_the_middle_leave_nothing_behind(
    service: tuple[str, Path, Process],
) -> None:
    url, data, process = service
    for number in range(40):
        connection = connect(url)
        connection.sendall(upload_head(1_000_000) + b"x" * (number * 5000))
        if number % 2:  # a reset instead of a goodbye
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
    eventually(lambda: incoming(data) == [])
    assert httpx2.get(url + VIDEOS, timeout=10).json()["videos"] == []
    assert '"level": "error"' not in process.output()


def test_downloads_and_streams_that_are_broken_off_are_forgotten(
    service: tuple[str, Path, Process], long_clip: Path
) -> None:
    url, _, process = service
    content = long_clip.read_bytes()
    video = httpx2.post(url + VIDEOS, files={"file": ("a.mp4", content)}, timeout=60).json()
    follow = f"/api/v1/analyses/{video['analysis']['id']}/progress"
    for path in [f"{VIDEOS}/{video['id']}/content", follow] * 20:
        with connect(url) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")

    def only_ours() -> bool:
        lines = httpx2.get(f"{url}/metrics", timeout=10).text.splitlines()
        (line,) = [line for line in lines if line.startswith("http_requests_in_progress ")]
        return float(line.split()[1]) == 1

    eventually(only_ours)
    assert httpx2.delete(f"{url}{VIDEOS}/{video['id']}", timeout=10).status_code == 204
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
def test_paths_and_queries_that_mean_harm_reach_nothing(
    service: tuple[str, Path, Process], path: bytes, allowed: set[int]
) -> None:
    url, _, _ = service
    answer = exchange(url, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert status(answer) in allowed, answer
    assert b"root:" not in answer
    assert b"DROP" not in answer.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "name", ["../../../../app/main.py", "/etc/passwd", "a\0b.mp4", 'a";x="b.mp4', "..", "x" * 5000]
)
def test_file_names_that_mean_harm_stay_words(
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
    answer = exchange(url, head + body)
    assert status(answer) in (201, 400), answer
    if status(answer) == 201:
        rows = list(audit.every(url, VIDEOS, "videos"))
        assert all("/" not in row["filename"] and "\0" not in row["filename"] for row in rows)
        download = httpx2.get(f"{url}{VIDEOS}/{rows[0]['id']}/content", timeout=10)
        assert "attachment" not in download.headers
    assert {path.parent.parent for path in (data / "videos").rglob("*") if path.is_file()} <= {
        data / "videos"
    }


def test_header_injection_comes_back_in_no_header(service: tuple[str, Path, Process]) -> None:
    url, _, process = service
    for value in (b"a\r\n evil: 1", b"a\x0bevil: 1", b'a"; evil', b"x" * 4000):
        request = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        answer = exchange(url, request + b"X-Request-Id: " + value + b"\r\n\r\n")
        assert b"evil" not in answer
        assert status(answer) in (200, 400)
    assert process.popen.poll() is None


def test_json_that_is_too_large_or_too_deep_is_refused_before_it_is_held(
    service: tuple[str, Path, Process],
) -> None:
    url, _, _ = service
    target = f"{url}{VIDEOS}/00000000-0000-0000-0000-000000000000/analyses"
    kind = {"content-type": "application/json"}

    def chunks() -> Iterator[bytes]:
        yield from [b"[" * 65536] * 64

    assert httpx2.post(target, content=b" " * 10_000_000, headers=kind).status_code == 413
    # It may have answered and hung up before all was sent.
    with contextlib.suppress(httpx2.WriteError):
        assert httpx2.post(target, content=chunks(), headers=kind).status_code == 413
    assert httpx2.post(target, content=b"[" * 60_000, headers=kind).status_code == 400
    number = b'{"sensitivity": ' + b"9" * 50_000 + b"}"
    assert httpx2.post(target, content=number, headers=kind).status_code == 400


def test_a_service_stops_at_once_whoever_is_connected_to_it(tmp_path: Path) -> None:
    with servers.api(tmp_path / "data", log=tmp_path / "log") as (url, process):
        idle, half_sent = connect(url), connect(url)
        half_sent.sendall(b"GET /health HTTP/1.1\r\nHo")
        kept = httpx2.Client()
        assert kept.get(f"{url}/health").status_code == 200
        began = time.monotonic()
        process.stop()
        # Of the order of 0.2 s on a machine that has nothing else to do.
        assert time.monotonic() - began < 5
        kept.close()
        idle.close()
        half_sent.close()


def bomb(target: Path, *, side: int) -> Path:
    """Make a video of kilobytes whose picture has `side` x `side` grey pixels (PNG, one bit)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    packer, row = zlib.compressobj(9), b"\0" * (side // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    picture = target.with_suffix(".png")
    picture.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    ffmpeg = programs.find("ffmpeg", variable="FFMPEG")
    subprocess.run(
        [ffmpeg, "-v", "error", "-y", "-i", str(picture), "-c", "copy", str(target)], check=True
    )
    return target


def test_a_tiny_file_with_a_gigantic_picture_is_refused_or_fails_in_words(
    service: tuple[str, Path, Process], tmp_path: Path, clip: Path
) -> None:
    url, _, _ = service
    content = bomb(tmp_path / "bomb.mkv", side=16_000).read_bytes()
    assert len(content) < 500_000
    reply = httpx2.post(url + VIDEOS, files={"file": ("bomb.mkv", content)}, timeout=60)
    assert reply.status_code in (201, 415), reply.text

    def ended(video: dict[str, Any]) -> dict[str, Any] | None:
        found = httpx2.get(f"{url}{VIDEOS}/{video['id']}", timeout=10).json()["analysis"]
        return found if found["status"] in audit.FINAL else None

    if reply.status_code == 201:
        analysis = eventually(lambda: ended(reply.json()))
        assert (analysis["status"], analysis["attempts"]) == ("failed", 1)
        assert analysis["reason"]
        thumbnail = httpx2.get(f"{url}{VIDEOS}/{reply.json()['id']}/thumbnail", timeout=60)
        assert thumbnail.status_code == 409, thumbnail.text
    good = httpx2.post(url + VIDEOS, files={"file": ("a.mp4", clip.read_bytes())}, timeout=60)
    assert eventually(lambda: ended(good.json()))["status"] == "done"
