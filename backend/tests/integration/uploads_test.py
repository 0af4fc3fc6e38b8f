"""Resumable uploads (tus 1.0.0): interrupted, continued after a restart, checked, and expired."""

import base64
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support import servers
from tests.support.servers import eventually

from app.api import uploads
from app.api.application import create_app
from app.settings import Settings, load_settings

UPLOADS, VIDEOS = "/api/v1/uploads", "/api/v1/videos"
TUS = {"Tus-Resumable": "1.0.0"}
LIMIT = 3 * 1024 * 1024


@pytest.fixture
def settings(tmp_path: Path, migrated_sqlite: Path) -> Settings:
    (tmp_path / "test.db").write_bytes(migrated_sqlite.read_bytes())
    return load_settings(
        {
            "data_dir": tmp_path / "data",
            "database_url": SecretStr(f"sqlite:///{tmp_path}/test.db"),
            "max_upload_bytes": LIMIT,
        }
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def create(client: Any, length: int, *, name: str = "a.mp4", query: str = "", **more: Any) -> str:
    headers = TUS | {"Upload-Length": str(length), "Upload-Metadata": f"filename {b64(name)}"}
    reply = client.post(UPLOADS + query, headers=headers | more)
    assert reply.status_code == 201, reply.text
    assert reply.headers["upload-offset"] == "0"
    assert reply.headers["upload-expires"].endswith("GMT")
    return str(reply.headers["location"])


def patch(client: Any, url: str, offset: int, data: Any, **headers: str) -> Any:
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return client.patch(url, headers=TUS | kind | headers, content=data)


def offset(client: Any, url: str) -> int:
    reply = client.head(url, headers=TUS)
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-store")
    assert reply.headers["tus-resumable"] == "1.0.0"
    return int(reply.headers["upload-offset"])


def left(settings: Settings) -> list[str]:
    folders = (settings.data_dir / "uploads", settings.data_dir / "incoming")
    return [path.name for folder in folders for path in folder.iterdir()]


def test_upload_in_parts_becomes_an_analysed_video(
    client: TestClient, clip: Path, settings: Settings
) -> None:
    data = clip.read_bytes()
    url = create(client, len(data), name='say "hi" 100%.mp4')
    for start in range(0, len(data), 5000):
        assert offset(client, url) == start
        part = data[start : start + 5000]
        digest = f"sha1 {b64(hashlib.sha1(part, usedforsecurity=False).digest())}"
        reply = patch(client, url, start, part, **{"Upload-Checksum": digest})
        assert (reply.status_code, reply.content) == (204, b"")
        assert reply.headers["upload-offset"] == str(start + len(part))
    state = client.get(url).json()
    assert (state["offset"], state["filename"]) == (len(data), 'say "hi" 100%.mp4')
    video = client.get(f"{VIDEOS}/{state['video_id']}").json()
    assert video["sha256"] == hashlib.sha256(data).hexdigest()
    assert video["filename"] == 'say "hi" 100%.mp4'
    assert video["analysis"]["status"] in ("queued", "running", "done")
    # A client that missed the last response asks again.
    assert offset(client, url) == len(data)
    assert patch(client, url, len(data), b"").status_code == 204
    assert client.delete(url, headers=TUS).status_code == 204
    assert client.get(url).status_code == 404
    assert client.get(f"{VIDEOS}/{video['id']}").status_code == 200
    assert left(settings) == []


def test_the_whole_file_can_come_with_the_creation(client: TestClient, clip: Path) -> None:
    data = clip.read_bytes()
    headers = TUS | {
        "Upload-Length": str(len(data)),
        "Content-Type": "application/offset+octet-stream",
    }
    reply = client.post(f"{UPLOADS}?analyse=false", headers=headers, content=data)
    assert (reply.status_code, reply.headers["upload-offset"]) == (201, str(len(data)))
    video_id = client.get(reply.headers["location"]).json()["video_id"]
    video = client.get(f"{VIDEOS}/{video_id}").json()
    assert (video["filename"], video["analysis"]) == ("unnamed", None)
    # Known content is not stored again, and gets the analysis that it lacks.
    url = create(client, len(data))
    assert patch(client, url, 0, data).status_code == 204
    assert client.get(url).json()["video_id"] == video_id
    assert client.get(f"{VIDEOS}/{video_id}").json()["analysis"] is not None


def test_server_describes_what_it_supports(client: TestClient) -> None:
    reply = client.options(UPLOADS)
    assert reply.status_code == 204
    assert reply.headers["tus-version"] == "1.0.0"
    assert reply.headers["tus-max-size"] == str(LIMIT)
    assert "termination" in reply.headers["tus-extension"].split(",")
    assert "sha1" in reply.headers["tus-checksum-algorithm"].split(",")


@pytest.mark.parametrize(
    ("length", "more", "status", "detail"),
    [
        (LIMIT + 1, {}, 413, f"The video exceeds the limit of {LIMIT} bytes."),
        (0, {}, 400, "The file is empty."),
        (9, {"Upload-Metadata": "filename ?"}, 400, "'filename' is not valid base64"),
        (9, {"Tus-Resumable": "0.2.2"}, 412, "Send `Tus-Resumable: 1.0.0`."),
        (-1, {}, 422, None),
    ],
)
def test_invalid_creation_is_rejected(
    length: int, more: dict[str, str], status: int, detail: str | None,
    client: TestClient, settings: Settings,
) -> None:  # fmt: skip
    reply = client.post(UPLOADS, headers=TUS | {"Upload-Length": str(length)} | more)
    assert (reply.status_code, reply.headers["tus-resumable"]) == (status, "1.0.0")
    assert detail is None or detail in reply.json()["detail"]
    assert left(settings) == []


def test_creation_fails_early_when_the_disk_has_no_room(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = os.statvfs_result((512, 512, 9, 9, 9, 9, 9, 9, 9, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: usage)
    reply = client.post(UPLOADS, headers=TUS | {"Upload-Length": "100000"})
    assert (reply.status_code, reply.json()["title"]) == (507, "Storage full")


def test_invalid_data_is_rejected_and_changes_nothing(client: TestClient, clip: Path) -> None:
    data = clip.read_bytes()
    url = create(client, len(data))
    assert patch(client, url, 0, data[:100]).status_code == 204
    wrong = f"sha1 {b64(b'x' * 20)}"
    for more, start, body, status, detail in (
        ({}, 0, b"x", 409, "continues at 100, not at 0"),
        ({}, 101, b"x", 409, "continues at 100, not at 101"),
        ({"Content-Type": "text/plain"}, 100, b"x", 415, "application/offset+octet-stream"),
        ({"Upload-Checksum": wrong}, 100, data[100:], 460, "announced checksum"),
        ({"Upload-Checksum": "crc7 AA=="}, 100, b"x", 400, "'crc7' is not one of sha1"),
        ({"Upload-Checksum": "sha1 ?"}, 100, b"x", 400, "not valid base64"),
        ({}, 100, data, 413, f"announced with {len(data)} bytes"),
        ({"Tus-Resumable": "2"}, 100, b"x", 412, "Tus-Resumable"),
    ):
        reply = patch(client, url, start, body, **more)
        assert reply.status_code == status, (more, reply.text)
        assert detail in reply.json()["detail"]
        assert offset(client, url) == 100
    assert client.head(url).status_code == 412
    assert client.delete(url).status_code == 412
    # Behind proxies that allow only GET and POST.
    overridden = client.post(url, headers=TUS | {"X-HTTP-Method-Override": "DELETE"})
    assert overridden.status_code == 204
    assert client.head(url, headers=TUS).status_code == 404


def test_file_that_is_no_video_is_rejected_at_its_end(
    client: TestClient, settings: Settings
) -> None:
    url = create(client, 1000, name="notes.txt")
    reply = patch(client, url, 0, b"x" * 1000)
    assert (reply.status_code, reply.json()["type"]) == (415, "urn:problem:not-video")
    assert client.head(url, headers=TUS).status_code == 404
    assert left(settings) == []


def test_last_byte_is_sent_again_if_the_video_could_not_be_stored(
    clip: Path, settings: Settings
) -> None:
    data = clip.read_bytes()
    broken = settings.model_copy(update={"ffprobe": "/nowhere/ffprobe"})
    with TestClient(create_app(broken), base_url="http://localhost") as client:
        url = create(client, len(data))
        assert patch(client, url, 0, data).status_code == 503
        assert offset(client, url) == len(data) - 1
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        assert patch(client, url, len(data) - 1, data[-1:]).status_code == 204
        assert client.get(url).json()["video_id"]


def test_expired_uploads_are_gone_and_swept(client: TestClient, settings: Settings) -> None:
    url, kept = create(client, 1000), create(client, 1000)
    patch(client, url, 0, b"x" * 10)
    past = time.time() - settings.upload_lifetime.total_seconds() - 5
    for path in (settings.data_dir / "uploads").glob(f"{url.rpartition('/')[2]}*"):
        os.utime(path, (past, past))
    reply = client.get(url)
    assert (reply.status_code, "has expired" in reply.json()["detail"]) == (404, True)
    assert patch(client, url, 10, b"x").status_code == 404
    context = client.app.state.context  # type: ignore[attr-defined]
    assert context.uploads.sweep() == 1
    assert sorted(left(settings)) == sorted([(name := kept.rpartition("/")[2]), f"{name}.json"])


def test_unfinished_uploads_of_a_client_are_limited(settings: Settings, clip: Path) -> None:
    few = settings.model_copy(update={"max_unfinished_uploads": 2})
    app = create_app(few)
    one_byte = TUS | {"Upload-Length": "1"}
    data = clip.read_bytes()
    with TestClient(app, base_url="http://localhost") as client:
        first, second = create(client, 10), create(client, len(data))
        refused = client.post(UPLOADS, headers=one_byte)
        assert (refused.status_code, refused.json()["type"]) == (
            429,
            "urn:problem:too-many-requests",
        )
        assert "2 uploads are unfinished; continue or delete one" in refused.json()["detail"]
        other = TestClient(app, base_url="http://localhost", client=("192.0.2.7", 1))
        assert other.post(UPLOADS, headers=one_byte).status_code == 201
        assert client.delete(first, headers=TUS).status_code == 204
        create(client, 10)
        assert client.post(UPLOADS, headers=one_byte).status_code == 429
        assert patch(client, second, 0, data).status_code == 204  # it is finished
        create(client, 10)
    # Those of before a restart count, too.
    with TestClient(create_app(few), base_url="http://localhost") as client:
        assert client.post(UPLOADS, headers=one_byte).status_code == 429


def test_upload_that_another_process_writes_to_is_busy(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = create(client, 1000)
    monkeypatch.setattr(uploads, "WAIT_S", 0.2)
    with (settings.data_dir / "uploads" / url.rpartition("/")[2]).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for reply in (patch(client, url, 0, b"x"), client.delete(url, headers=TUS)):
            assert reply.status_code == 423
            assert "Another request is writing" in reply.json()["detail"]
    assert patch(client, url, 0, b"x").status_code == 204


def test_uploads_need_a_key_when_one_is_required(settings: Settings) -> None:
    closed = settings.model_copy(update={"require_api_key": True})
    with TestClient(create_app(closed), base_url="http://localhost") as client:
        reply = client.post(UPLOADS, headers=TUS | {"Upload-Length": "9"})
        assert reply.status_code == 401


def begin_patch(url: str, place: str, data: bytes, *, send: int) -> socket.socket:
    """Send the first `send` bytes of a request that announces all of them."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    head = (
        f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode() + data[:send])
    return connection


def test_upload_continues_after_lost_connection_and_killed_service(
    clip: Path, tmp_path: Path
) -> None:
    data, port = clip.read_bytes(), servers.free_port()
    with servers.api(tmp_path, log=tmp_path / "log", port=port) as (url, process):
        with httpx2.Client(base_url=url, timeout=30) as client:
            place = create(client, len(data))

            def interrupted() -> int | None:
                # The server drops what the service has not read when a connection is lost.
                with begin_patch(url, place, data, send=3000):
                    time.sleep(0.3)
                return offset(client, place) or None

            assert eventually(interrupted) == 3000
        process.kill()
    with (
        servers.api(tmp_path, log=tmp_path / "log", port=port) as (url, _),
        httpx2.Client(base_url=url, timeout=30) as client,
    ):
        assert offset(client, place) == 3000
        assert patch(client, place, 3000, data[3000:]).status_code == 204
        assert client.get(place).json()["video_id"]


def test_new_request_takes_over_from_one_that_hangs(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    with (
        servers.api(tmp_path, log=tmp_path / "log") as (url, _),
        httpx2.Client(base_url=url, timeout=60) as client,
    ):
        place = create(client, len(data))
        with begin_patch(url, place, data, send=1000) as hanging:
            began = time.monotonic()
            # Asking for the offset ends the request that hangs; it may not have begun yet.
            assert eventually(lambda: offset(client, place) or None) == 1000
            assert patch(client, place, 1000, data[1000:]).status_code == 204
            assert time.monotonic() - began < 10
            assert hanging.recv(100).startswith(b"HTTP/1.1 423 ")
        assert client.get(place).json()["offset"] == len(data)
