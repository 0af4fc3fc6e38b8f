"""HTTP as RFC 9110 and 9111 define it: validators, preconditions, HEAD, ranges, names of files."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support import clips
from tests.support.servers import eventually

from app.api import page
from app.api.application import create_app
from app.settings import load_settings

VIDEOS, ANALYSES = "/api/v1/videos", "/api/v1/analyses"
LONG_AGO, FAR_AHEAD = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("http")
    shutil.copy(migrated_sqlite, home / "test.db")
    url = SecretStr(f"sqlite:///{home}/test.db")
    settings = load_settings({"data_dir": home / "data", "database_url": url})
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def upload(client: TestClient, path: Path, name: str, query: str = "") -> Any:
    return client.post(VIDEOS + query, files={"file": (name, path.read_bytes())})


@pytest.fixture(scope="module")
def video(client: TestClient, clip: Path) -> dict[str, Any]:
    """Return an analysed video with events."""
    video_id = upload(client, clip, "pattern.mp4").json()["id"]

    def done() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"{VIDEOS}/{video_id}").json()
        return found if found["analysis"]["status"] == "done" else None

    return eventually(done)


def served(client: TestClient, video: dict[str, Any]) -> list[str]:
    """Return the address of one resource of each kind that is not `no-store`."""
    analysis = f"{ANALYSES}/{video['analysis']['id']}"
    event = client.get(f"{analysis}/events").json()["events"][0]["id"]
    one = f"{VIDEOS}/{video['id']}"
    return [
        "/", "/static/page.js", "/static/page.css", "/openapi.json",
        VIDEOS, one, f"{one}/content", f"{one}/thumbnail", ANALYSES, analysis,
        f"{analysis}/events", f"{analysis}/timeline", f"{analysis}/timeline.svg",
        f"/api/v1/events/{event}", f"/api/v1/events/{event}/thumbnail",
        f"/api/v1/events/{event}/clip",
    ]  # fmt: skip


def test_everything_served_is_revalidated_by_its_content(
    client: TestClient, video: dict[str, Any]
) -> None:
    for path in served(client, video):
        first = client.get(path)
        etag = first.headers["etag"]
        assert re.fullmatch(r'"[0-9a-f-]+"', etag), path
        assert "cache-control" in first.headers, path
        for tags in (etag, f'"other", W/{etag}', "*", f'"a,b",{etag}'):
            again = client.get(path, headers={"if-none-match": tags})
            assert (again.status_code, again.content) == (304, b""), (path, tags)
            assert again.headers["etag"] == etag
            assert again.headers["cache-control"] == first.headers["cache-control"]
            assert "content-length" not in again.headers
        for headers, status in (
            ({"if-none-match": '"other"'}, 200),
            ({"if-none-match": '"other"', "if-modified-since": FAR_AHEAD}, 200),
            ({"if-match": etag}, 200),
            ({"if-match": "*"}, 200),
            ({"if-match": '"other"'}, 412),
            ({"if-match": f"W/{etag}"}, 412),
            ({"if-match": etag, "if-none-match": etag}, 304),
        ):
            for method in ("GET", "HEAD"):
                reply = client.request(method, path, headers=headers)
                assert reply.status_code == status, (path, headers, method)


def test_files_are_revalidated_by_their_time_too(client: TestClient, video: dict[str, Any]) -> None:
    for name in ("content", "thumbnail"):
        path = f"{VIDEOS}/{video['id']}/{name}"
        modified = client.get(path).headers["last-modified"]
        for headers, status in (
            ({"if-modified-since": modified}, 304),
            ({"if-modified-since": FAR_AHEAD}, 304),
            ({"if-modified-since": LONG_AGO}, 200),
            ({"if-modified-since": "yesterday"}, 200),
            ({"if-unmodified-since": modified}, 200),
            ({"if-unmodified-since": LONG_AGO}, 412),
            ({"if-unmodified-since": "yesterday"}, 200),
        ):
            assert client.get(path, headers=headers).status_code == status, headers
        # Serving a file again must not change its validators.
        assert client.get(path).headers["last-modified"] == modified


def test_page_of_the_running_version_is_shown_although_all_files_have_one_time(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(page.__file__).parent / "static", tmp_path / "static")
    monkeypatch.setattr(page, "_STATIC", tmp_path / "static")
    app, script = page.PageFiles(), tmp_path / "static" / "page.js"
    before = client.get("/static/page.js").headers
    assert before["cache-control"] == "no-cache"
    assert "last-modified" not in before
    old = script.stat()
    script.write_bytes(script.read_bytes().replace(b"HEALTH_MS", b"HEALTH_XX"))
    assert script.stat().st_size == old.st_size
    routes = client.app.router.routes  # type: ignore[attr-defined]
    (mount,) = [route for route in routes if getattr(route, "path", "") == "/static"]
    monkeypatch.setattr(mount, "app", app)
    after = client.get("/static/page.js", headers={"if-none-match": before["etag"]})
    assert (after.status_code, b"HEALTH_XX" in after.content) == (200, True)


def test_head_is_answered_wherever_get_is(client: TestClient, video: dict[str, Any]) -> None:
    follow = f"{ANALYSES}/{video['analysis']['id']}"
    streams = [f"{follow}/progress", f"/api/v1/progress?analysis={video['analysis']['id']}"]
    exports = [f"{follow}/events.csv", f"{follow}/events.json"]
    probes = ["/health", "/health/live", "/health/ready", "/metrics"]
    for path in [*served(client, video), *probes, *exports, *streams]:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        for name in ("content-type", "etag", "cache-control"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)
        if path not in ("/health", "/health/ready", "/metrics"):  # their numbers change
            assert head.headers.get("content-length") == got.headers.get("content-length"), path
    for path in ("/nowhere", f"{VIDEOS}/{uuid.uuid4()}"):
        assert (client.head(path).status_code, client.head(path).content) == (404, b"")
    counted = 'method="HEAD",route="/api/v1/videos/{video_id}",status="200"'
    assert counted in client.get("/metrics").text


def test_preconditions_protect_changes(client: TestClient, clip_dir: Path) -> None:
    path = clips.brightness(clip_dir / "guarded.mp4", colour="purple")
    place = upload(client, path, "guarded.mp4", "?analyse=false").headers["location"]
    etag = client.get(place).headers["etag"]
    for headers in ({"if-match": '"other"'}, {"if-none-match": etag}, {"if-none-match": "*"}):
        reply = client.delete(place, headers=headers)
        assert (reply.status_code, reply.json()["type"]) == (412, "urn:problem:precondition-failed")
    assert client.delete(place, headers={"if-match": etag}).status_code == 204
    assert client.delete(place, headers={"if-match": "*"}).status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-4", 206, 0, 5),
        ("Bytes=0-4", 206, 0, 5),
        ("bytes=-5", 206, -5, None),
        ("bytes=0-4,99999999-", 206, 0, 5),
        ("bytes=99999999-, 2-3", 206, 2, 4),
        ("items=0-5", 200, 0, None),
        ("lines=1-2", 200, 0, None),
        ("bytes=99999999-", 416, 0, None),
        (f"bytes={'9' * 5000}-", 400, 0, None),
        ("bytes=x-y", 400, 0, None),
    ],
)
def test_ranges(
    asked: str, status: int, start: int, end: int | None,
    client: TestClient, video: dict[str, Any], clip: Path,
) -> None:  # fmt: skip
    path = f"{VIDEOS}/{video['id']}/content"
    whole = clip.read_bytes()
    reply = client.get(path, headers={"range": asked})
    assert reply.status_code == status, reply.text
    if status < 300:
        assert reply.content == whole[start:end]
    # Ranges are for GET only.
    head = client.head(path, headers={"range": asked})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole)))
    etag = client.get(path).headers["etag"]
    unchanged = client.get(path, headers={"range": asked, "if-none-match": etag})
    assert unchanged.status_code == (400 if status == 400 else 304)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("say %22cheese%22 #1 100%.mp4", 'say "cheese" #1 100%.mp4'),
        ("line%0D%0Aend %41.mp4", "lineend %41.mp4"),
        ('say \\"hi\\".mp4', 'say "hi".mp4'),
        ("3.45.12\u202fPM.mp4", "3.45.12 PM.mp4"),
        ("👨\u200d👩\u200d👧.mp4", "👨\u200d👩\u200d👧.mp4"),
    ],
)
def test_names_of_files_arrive_as_browsers_mean_them(
    sent: str, shown: str, client: TestClient, clip_dir: Path
) -> None:
    path = clips.brightness(clip_dir / "named.mp4", colour="orange")
    body = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{sent}"\r\n\r\n'.encode()
        + path.read_bytes()
        + b"\r\n--b--\r\n"
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    reply = client.post(f"{VIDEOS}?analyse=false", content=body, headers=kind)
    assert (reply.status_code, reply.json()["filename"]) == (201, shown)
    place = reply.headers["location"]
    # A list that is sorted by such names can be continued.
    page = client.get(VIDEOS, params={"sort": "-filename", "limit": 1}).json()
    if page["next_cursor"]:
        query = {"sort": "-filename", "limit": 1, "cursor": page["next_cursor"]}
        assert client.get(VIDEOS, params=query).status_code == 200
    assert client.delete(place).status_code == 204


def test_known_video_without_analysis_is_analysed_when_it_is_uploaded_again(
    client: TestClient, clip_dir: Path
) -> None:
    path = clips.brightness(clip_dir / "later.mp4", colour="cyan")
    first = upload(client, path, "later.mp4", "?analyse=false")
    assert (first.status_code, first.json()["analysis"]) == (201, None)
    assert upload(client, path, "later.mp4", "?analyse=false").json()["analysis"] is None

    def done(analysis_id: str) -> bool:
        return bool(client.get(f"{ANALYSES}/{analysis_id}").json()["status"] == "done")

    for _ in range(2):  # and again after its analyses have been deleted
        again = upload(client, path, "later.mp4")
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        analysis_id = again.json()["analysis"]["id"]
        assert upload(client, path, "later.mp4").json()["analysis"]["id"] == analysis_id
        eventually(lambda one=analysis_id: done(one))  # type: ignore[misc]
        assert client.delete(f"{ANALYSES}/{analysis_id}").status_code == 204


def test_events_are_exported(client: TestClient, video: dict[str, Any]) -> None:
    base = f"{ANALYSES}/{video['analysis']['id']}/events"
    events = client.get(base).json()["events"]
    saved = client.get(f"{base}.json")
    assert saved.json()["events"] == events
    assert saved.json()["video"]["id"] == video["id"]
    assert saved.json()["analysis"]["id"] == video["analysis"]["id"]
    table = client.get(f"{base}.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.headers["content-disposition"].endswith("''pattern%20events.csv")
    head, *lines = table.text.split("\r\n")[:-1]
    assert head == (
        "position,start,end,started_at,ended_at,peak_time,peak_score,x,y,width,height,id"
    )
    assert len(lines) == len(events)
    first = dict(zip(head.split(","), lines[0].split(","), strict=True))
    assert float(first["start"]) == events[0]["start"]
    assert first["id"] == events[0]["id"]
    assert 0 < float(first["width"]) <= 1
    for kind in ("csv", "json"):
        assert client.get(f"{ANALYSES}/{uuid.uuid4()}/events.{kind}").status_code == 404
