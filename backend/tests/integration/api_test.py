"""The API end to end with real videos and the embedded worker, on SQLite and PostgreSQL."""

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support import clips
from tests.support.servers import eventually

from app.api.application import create_app
from app.settings import Settings, load_settings

VIDEOS = "/api/v1/videos"
LIMIT = 3 * 1024 * 1024


@pytest.fixture
def settings(tmp_path: Path, migrated_url: str) -> Settings:
    return load_settings(
        {
            "data_dir": tmp_path / "data",
            "database_url": SecretStr(migrated_url),
            "max_upload_bytes": LIMIT,
        }
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def upload(client: TestClient, path: Path, *, name: str | None = None) -> httpx2.Response:
    with path.open("rb") as file:
        return client.post(VIDEOS, files={"file": (name or path.name, file)})


def finished(client: TestClient, video_id: str) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        analysis: dict[str, Any] = client.get(f"{VIDEOS}/{video_id}").json()["analysis"]
        return analysis if analysis["status"] in ("done", "failed") else None

    return eventually(ask)


def files(settings: Settings) -> list[Path]:
    folders = (settings.data_dir / "videos", settings.data_dir / "incoming")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_new_instance_is_healthy(client: TestClient) -> None:
    reply = client.get("/health")
    document = reply.json()
    assert reply.status_code == 200, document
    assert (document["status"], document["worker"]) == ("healthy", "embedded")
    assert document["checks"]["migrations"]["current"] == document["checks"]["migrations"]["head"]
    assert set(document["checks"]) == {"database", "migrations", "broker", "disk"}


def test_video_is_ingested_analysed_read_and_deleted(
    client: TestClient, clip: Path, settings: Settings
) -> None:
    reply = upload(client, clip, name="../../etc/cron.d/evil.mp4")
    assert reply.status_code == 201, reply.text
    video = reply.json()
    assert reply.headers["location"] == f"{VIDEOS}/{video['id']}"
    assert video["filename"] == "evil.mp4"
    assert video["size"] == clip.stat().st_size

    analysis = finished(client, video["id"])
    assert analysis["status"] == "done", analysis["reason"]
    result = analysis["result"]
    assert (result["codec"], result["width"], result["height"]) == ("h264", 320, 240)
    assert (result["duration"], result["frame_rate"]) == (2.0, "25")
    assert (result["frames_decoded"], result["frames_analysed"]) == (50, 10)
    assert client.get(f"/api/v1/analyses/{analysis['id']}").json() == analysis

    assert [path.name for path in files(settings)] == [video["id"]]
    assert client.delete(f"{VIDEOS}/{video['id']}").status_code == 204
    assert files(settings) == []
    assert client.get(f"{VIDEOS}/{video['id']}").status_code == 404
    assert client.get(f"/api/v1/analyses/{analysis['id']}").status_code == 404
    assert client.delete(f"{VIDEOS}/{video['id']}").status_code == 404


def test_duplicate_content_is_detected_under_another_name(
    client: TestClient, clip: Path, settings: Settings
) -> None:
    first = upload(client, clip)
    second = upload(client, clip, name="copy.mp4")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(files(settings)) == 1


def test_duplicate_content_uploaded_concurrently_is_stored_once(
    client: TestClient, clip: Path, settings: Settings
) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: upload(client, clip), range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] * 7 + [201]
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert len(files(settings)) == 1


def test_different_videos_uploaded_concurrently_are_all_analysed(
    client: TestClient, clip_dir: Path
) -> None:
    made = [clips.pattern(clip_dir / f"rate{rate}.mp4", rate=str(rate)) for rate in range(5, 11)]
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda path: upload(client, path), made))
    assert [reply.status_code for reply in replies] == [201] * 6
    for reply in replies:
        assert finished(client, reply.json()["id"])["status"] == "done"


def test_list_is_newest_first_and_paginated_by_cursor(client: TestClient, clip_dir: Path) -> None:
    colours = ("black", "gray", "white", "red", "blue")
    made = [clips.brightness(clip_dir / f"{name}.mp4", colour=name) for name in colours]
    ids = [upload(client, path).json()["id"] for path in made]
    seen, cursor = [], None
    for expected in (2, 2, 1):
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = client.get(VIDEOS, params=query).json()
        assert len(page["videos"]) == expected
        seen += [video["id"] for video in page["videos"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == ids[::-1]


def write(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("make", "name", "status", "detail"),
    [
        (write(b""), "empty.mp4", 400, "The file is empty"),
        (write(b"just text\n" * 100), "text.mp4", 415, "not a video in a known format"),
        (write(PLAYLIST), "list.mp4", 415, "an HLS playlist is not accepted; accepted are MP4,"),
        (
            write(b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
            "c.mp4",
            415,
            "a list of files is not",
        ),
        (clips.audio_only, "sound.mp4", 415, "no video stream, only audio"),
        (write(b"\0" * (LIMIT + 1)), "big.mp4", 413, f"exceeds the limit of {LIMIT} bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_invalid_video_is_rejected_with_a_reason_and_leaves_no_files(
    make: Callable[[Path], Path],
    name: str,
    status: int,
    detail: str,
    client: TestClient,
    settings: Settings,
    tmp_path: Path,
) -> None:
    reply = upload(client, make(tmp_path / name))
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert detail in problem["detail"]
    assert str(tmp_path) not in reply.text
    assert (problem["status"], problem["request_id"]) == (status, reply.headers["x-request-id"])
    assert files(settings) == []
    assert client.get(VIDEOS).json()["videos"] == []


def test_video_on_which_ffprobe_times_out_is_rejected(
    client: TestClient, settings: Settings, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("app.video.probe"), "PROBE_TIMEOUT_S", 0.001)
    reply = upload(client, clip)
    assert reply.status_code == 415, reply.text
    assert "ffprobe timed out after 0.001 s" in reply.json()["detail"]
    assert files(settings) == []


def test_truncated_video_keeps_the_results_of_its_good_part_and_has_a_warning(
    client: TestClient, tmp_path: Path
) -> None:
    video = upload(client, clips.truncated(tmp_path / "cut.mp4", keep=0.5)).json()
    analysis = finished(client, video["id"])
    assert (analysis["status"], analysis["reason"]) == ("done", None)
    assert analysis["event_count"] == 1
    assert re.search(r"ends at \d\.\d s, but its duration is 10\.0 s", analysis["warning"])
    # Nothing can be shown after that.
    duration = client.get(f"{VIDEOS}/{video['id']}").json()["duration"]
    assert duration == analysis["result"]["duration"] < 8


def test_video_named_txt_is_accepted(client: TestClient, clip: Path) -> None:
    assert upload(client, clip, name="notes.txt").status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{VIDEOS}/{uuid.uuid4()}", 404),
        ("GET", f"{VIDEOS}/not-an-id", 422),
        ("GET", f"{VIDEOS}?limit=0", 422),
        ("GET", f"{VIDEOS}?limit=101", 422),
        ("GET", f"{VIDEOS}?cursor=x%27--", 400),
        ("GET", f"{VIDEOS}?sort=secret", 422),
        ("GET", f"{VIDEOS}?status=lost", 422),
        ("POST", VIDEOS, 400),
        ("PUT", VIDEOS, 405),
        ("GET", "/nowhere", 404),
        ("GET", "/static/../main.py", 404),
        ("GET", "/static/%2e%2e/videos.py", 404),
    ],
)
def test_every_error_is_a_problem_document(
    method: str, path: str, status: int, client: TestClient
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status"} <= set(reply.json())


def test_page_and_assets_are_served_and_reference_no_other_host(client: TestClient) -> None:
    for path in ("/", "/static/page.js", "/static/page.css"):
        reply = client.get(path)
        assert reply.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", reply.text)
    assert "default-src 'self'" in client.get("/").headers["content-security-policy"]


def test_openapi_document_describes_the_upload(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"][VIDEOS]["post"]
    assert "multipart/form-data" in operation["requestBody"]["content"]
    assert {"200", "201", "401", "413", "415", "507"} <= set(operation["responses"])


def test_openapi_document_is_complete(settings: Settings) -> None:
    everything = settings.model_copy(update={"webhook_hosts": ("*",)})
    document = create_app(everything).openapi()
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation["description"], place
            assert operation["tags"], place
            for status, reply in operation["responses"].items():
                kinds = reply.get("content", {})
                if int(status) >= 400 and not path.startswith("/health"):
                    example = kinds["application/problem+json"]["example"]
                    assert example["status"] == int(status), place
                for kind in kinds.values():
                    assert kind["schema"], (place, status)
                for link in reply.get("links", {}).values():
                    assert link["operationId"] in str(document), (place, link)
    assert len(ids) == len(set(ids))
    for name, schema in document["components"]["schemas"].items():
        if name.endswith(("Out", "In", "Schema")) and name not in ("BoxOut", "CheckOut", "LiveOut"):
            assert schema["examples"], name


def test_method_not_allowed_lists_the_allowed_methods(client: TestClient) -> None:
    for path, allowed in (
        (VIDEOS, "GET, HEAD, POST"),
        (f"{VIDEOS}/{uuid.uuid4()}", "GET, HEAD, DELETE"),
        (f"{VIDEOS}/{uuid.uuid4()}/content", "GET, HEAD"),
        ("/api/v1/uploads", "POST, OPTIONS"),
        ("/health", "GET, HEAD"),
        ("/", "GET, HEAD"),
    ):
        # The body is too large too, but there is no point in sending a smaller one.
        reply = client.put(path, content=b"x" * 100_000)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


def test_video_is_imported_from_the_allowed_directory(settings: Settings, clip: Path) -> None:
    allowed = settings.model_copy(update={"import_dir": clip.parent})
    with TestClient(create_app(allowed), base_url="http://localhost") as client:
        reply = client.post("/api/v1/imports", json={"path": clip.name})
        assert reply.status_code == 201, reply.text
        video = reply.json()
        assert (video["source"], video["filename"]) == ("path", clip.name)
        assert client.post("/api/v1/imports", json={"path": clip.name}).status_code == 200
        assert finished(client, video["id"])["status"] == "done"
        for body, status in (
            ({"path": "../x"}, 403),
            ({"url": "http://localhost/x"}, 403),
            ({"path": "absent"}, 404),
            ({}, 422),
            ({"path": "a", "url": "http://b/"}, 422),
        ):
            assert client.post("/api/v1/imports", json=body).status_code == status
    assert clip.exists()


def test_client_request_id_is_echoed_only_if_safe(client: TestClient) -> None:
    assert client.get("/", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    odd = client.get("/", headers={"x-request-id": "a b"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", odd)


def test_pending_migrations_are_unhealthy_without_auto_migrate(
    tmp_path: Path, database_url: str
) -> None:
    settings = load_settings(
        {
            "data_dir": tmp_path / "data",
            "database_url": SecretStr(database_url),
            "auto_migrate": False,
        }
    )
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        reply = client.get("/health")
        assert reply.status_code == 503
        check = reply.json()["checks"]["migrations"]
        assert (check["status"], check.get("current")) == ("failed", None)
        assert "alembic upgrade head" in check["detail"]
        listing = client.get(VIDEOS)
        assert (listing.status_code, listing.json()["title"]) == (503, "Temporarily unavailable")
