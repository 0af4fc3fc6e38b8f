"""Damaged cursors, headers, bodies, requests and films are refused or read; nothing else happens.

Against the real service and the real ffprobe. Each test has the same inputs every time; DAMAGE_SEED
gives it others, and DAMAGE_EXAMPLES more of them.
"""

import base64
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.support import clips, servers, web
from tests.support.audit import VIDEOS
from tests.support.damage import damaged
from tests.support.servers import Process

from app.video import UnreadableVideoError, probe
from app.video.errors import MemoryLimitError, NoVideoStreamError, TimeLimitError, VideoTooBigError

T = TypeVar("T")
UPLOADS = "/api/v1/uploads"
PROBLEM = "application/problem+json"
# Short, because damage often makes the service wait for more of a request.
WAITS = {"REQUEST_TIMEOUT": "1", "UPLOAD_IDLE_TIMEOUT": "1"}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="caf\xc3\xa9.mp4"\r\n'
    b"Content-Type: video/mp4\r\n\r\nnot a film\r\n--b--\r\n"
)
ID = "0" * 32
SURPRISES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**63, 2**64, float("inf"), float("nan"), -(10**400)),
    *("", "\0", "\ud800", "a" * 5000, [], {}, [[]], ID, "newest", "position", "-size"),
]


def many(inputs: st.SearchStrategy[T], check: Callable[[T], None], *, count: int) -> None:
    """Call `check` with `count` inputs."""
    seed = os.environ.get("DAMAGE_SEED")
    test = hypothesis.settings(
        max_examples=int(os.environ.get("DAMAGE_EXAMPLES", count)),
        deadline=None,
        derandomize=seed is None,
        database=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )(hypothesis.given(inputs)(check))
    (test if seed is None else hypothesis.seed(int(seed))(test))()


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, clip: Path
) -> Iterator[tuple[str, str, Process]]:
    """Run a service with one video; yield its URL, the video's path in it, and the process."""
    home = tmp_path_factory.mktemp("damage")
    variables = {"MAX_UPLOAD_BYTES": "1MiB", "LOG_LEVEL": "warning"} | WAITS
    with servers.api(home / "data", log=home / "log", variables=variables) as (url, process):
        reply = web.post(
            url + VIDEOS, files={"file": ("a.mp4", clip.read_bytes())}, timeout=60
        ).raise_for_status()
        yield url, f"{VIDEOS}/{reply.json()['id']}", process
        assert web.get(url + "/health/live", timeout=10).status_code == 200
        assert "Traceback" not in process.output()


def exchange(url: str, request: bytes) -> tuple[int, bytes]:
    """Send a request as it is; return the status, 0 for none, and the whole response."""
    host, port = url.removeprefix("http://").split(":")
    response = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                response += chunk
        except ConnectionError:
            pass  # it has answered before it read all of this
    found = re.match(rb"HTTP/1\.[01] (\d{3})", response)
    return int(found[1]) if found else 0, response


def head(url: str, method: str, path: str, **headers: bytes) -> bytes:
    """Return the beginning of a request."""
    lines = [f"{method} {path} HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\n".encode()]
    lines += [name.replace("_", "-").encode() + b": " + headers[name] + b"\r\n" for name in headers]
    return b"".join([*lines, b"Connection: close\r\n\r\n"])


@st.composite
def cursors(draw: st.DrawFn) -> str:
    """Return a cursor as the service makes them, one of its members or its text damaged."""
    name = draw(st.sampled_from(["created_at", "-created_at", "filename", "size", "-duration"]))
    members: list[Any] = [name, draw(st.sampled_from(SURPRISES)), ID]
    if draw(st.booleans()):
        members[draw(st.integers(0, 2))] = draw(st.sampled_from(SURPRISES))
    text = json.dumps(members).encode()
    text = draw(st.just(text) | damaged(text) | st.just(b"[" * 3000))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")[:6000]


def test_a_damaged_cursor_is_refused_or_reads_a_page(service: tuple[str, str, Process]) -> None:
    url, _, _ = service

    with web.Client(timeout=30) as client:

        def check(drawn: tuple[str, str]) -> None:
            cursor, sort = drawn
            reply = client.get(url + VIDEOS, params={"cursor": cursor, "sort": sort})
            assert reply.status_code in (200, 400, 414, 422), (cursor, sort, reply.text)
            if reply.status_code != 200:
                assert reply.headers["content-type"] == PROBLEM

        sorts = st.sampled_from(["created_at", "-created_at", "filename", "size", "-duration"])
        many(st.tuples(cursors(), sorts), check, count=60)


def test_a_damaged_range_never_yields_other_bytes(
    service: tuple[str, str, Process], clip: Path
) -> None:
    url, video, _ = service
    content = clip.read_bytes()

    def check(value: bytes) -> None:
        value = re.sub(rb"[\r\n\0]", b"", value)[:4000]
        status, response = exchange(url, head(url, "GET", f"{video}/content", Range=value))
        assert status in (200, 206, 400, 416), (value, response[:500])
        fields, _, body = response.partition(b"\r\n\r\n")
        if status == 200:
            assert body == content, value
        found = re.search(rb"content-range: bytes (\d+)-(\d+)/(\d+)", fields.lower())
        if status == 206 and found:
            first, last, size = map(int, found.groups())
            assert (size, body) == (len(content), content[first : last + 1]), value
        # What RFC 9110 14.1.2 calls valid, and nothing else has an answer of its own.
        single = re.fullmatch(rb"bytes=(\d{1,9})-(\d{1,9})", value)
        if single and int(single[1]) <= int(single[2]) and int(single[1]) < len(content):
            assert body == content[int(single[1]) : int(single[2]) + 1], value

    ranges = damaged(b"bytes=0-99", b"bytes=-500", b"bytes=100-", b"bytes=0-1,5-9, 20-")
    many(ranges, check, count=80)


@st.composite
def requests(draw: st.DrawFn, url: str, video: str) -> bytes:
    """Return a request whose body, one header or whole text is damaged."""
    kind = draw(st.sampled_from(["form", "tus", "json", "whole", "nested"]))
    if kind == "form":
        body = draw(damaged(FORM))
        boundary = draw(damaged(b"multipart/form-data; boundary=b"))
        fields = {"Content_Type": boundary.replace(b"\n", b"").replace(b"\r", b"")}
        method, path = "POST", VIDEOS
    elif kind == "tus":
        name, value = draw(st.sampled_from([
            ("Upload_Length", b"10"), ("Upload_Metadata", b"filename Y2xpcC5tcDQ=,a"),
            ("Upload_Checksum", b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="), ("Tus_Resumable", b"1.0.0"),
            ("Content_Type", b"application/offset+octet-stream"), ("Content_Length", b"4"),
        ]))  # fmt: skip
        changed = re.sub(rb"[\r\n]", b"", draw(damaged(value)))
        fields = {"Tus_Resumable": b"1.0.0", "Upload_Length": b"10", name: changed}
        method, path, body = "POST", UPLOADS, b"abcd"
    elif kind in ("json", "nested"):
        valid = b'{"parameters": {"zones": [], "threshold": 25}}'
        body = b"[" * 100_000 if kind == "nested" else draw(damaged(valid))
        fields = {"Content_Type": b"application/json"}
        method, path = "POST", f"{video}/analyses"
    else:
        valid = head(url, "GET", f"{VIDEOS}?limit=1", If_None_Match=b'"a"', Accept=b"*/*")
        return draw(damaged(valid))
    length = {"Content_Length": str(len(body)).encode()}
    return head(url, method, path, **length | fields) + body


def test_a_damaged_request_is_refused_or_carried_out(service: tuple[str, str, Process]) -> None:
    url, video, _ = service

    def check(request: bytes) -> None:
        status, response = exchange(url, request)
        assert status < 500 or status in (501, 505), (request[:2000], response[:500])
        answered.append(status)

    answered: list[int] = []
    many(requests(url, video), check, count=80)
    assert answered.count(0) < len(answered) / 4
    # Whatever names films got, they can be listed.
    reply = web.get(url + VIDEOS, params={"limit": "100"}, timeout=30).raise_for_status()
    for each in reply.json()["videos"]:
        found = web.get(f"{url}{VIDEOS}/{each['id']}/content", timeout=30)
        assert found.status_code == 200
        assert "\n" not in found.headers.get("content-disposition", "")


REFUSALS = (
    *(UnreadableVideoError, NoVideoStreamError, VideoTooBigError, TimeLimitError),
    MemoryLimitError,
)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_damaged_film_is_probed_or_refused(suffix: str, clip: Path, tmp_path: Path) -> None:
    whole = clips.with_tone(clip, tmp_path / f"whole{suffix}", seconds=1).read_bytes()
    # The header says what is in a film, wherever the header is.
    parts = (whole[:3000], whole[-3000:])
    path = tmp_path / f"damaged{suffix}"

    def check(drawn: tuple[bytes, bytes]) -> None:
        path.write_bytes(drawn[0] + whole[3000:-3000] + drawn[1])
        try:
            found = probe(path, tools=clips.tools())
        except REFUSALS as error:
            refused.append(str(error).strip())
        else:
            assert found.width > 0
            assert found.height > 0

    refused: list[str] = []
    many(st.tuples(damaged(parts[0]), damaged(parts[1])), check, count=8)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, f"whole{suffix}"])
    assert all(refused)
