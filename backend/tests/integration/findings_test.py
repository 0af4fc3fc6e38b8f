"""Results, media and metrics through the API, on both databases with real videos."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support import clips, programs
from tests.support.servers import eventually

from app.api.application import create_app
from app.settings import Settings, load_settings

VIDEOS, ANALYSES, EVENTS = "/api/v1/videos", "/api/v1/analyses", "/api/v1/events"


@pytest.fixture(scope="module")
def settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> Settings:
    home = tmp_path_factory.mktemp("service")
    if kind == "sqlite":
        url = f"sqlite:///{home}/test.db"
    else:
        create: Callable[[], str] = request.getfixturevalue("migrated_postgres")
        url = create()
    return load_settings({"data_dir": home / "data", "database_url": SecretStr(url)})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def video(client: TestClient, clip_dir: Path) -> dict[str, Any]:
    """Return an analysed video of nine seconds in which a square crosses from 3 s to 6 s."""
    plain = clips.still_then_moving(clip_dir / "plain.mp4")
    recorded = ("-metadata", "creation_time=2026-03-01T10:20:30Z", "-aspect", "16:9")
    path = clips.converted(plain, clip_dir / "crossing.mp4", "-c", "copy", *recorded)
    with path.open("rb") as file:
        reply = client.post(VIDEOS, files={"file": ("crossing.mp4", file)})
    assert reply.status_code in (200, 201), reply.text
    return finished(client, reply.json()["id"])


def finished(client: TestClient, video_id: str) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"{VIDEOS}/{video_id}").json()
        return found if found["analysis"]["status"] in ("done", "failed") else None

    return eventually(ask)


@pytest.fixture(scope="module")
def event(client: TestClient, video: dict[str, Any]) -> dict[str, Any]:
    page = client.get(f"{ANALYSES}/{video['analysis']['id']}/events").json()
    assert len(page["events"]) == 1, page
    found: dict[str, Any] = page["events"][0]
    return found


def probed(path: Path) -> dict[str, Any]:
    command = [programs.find("ffprobe", variable="FFPROBE"), "-v", "error", "-show_streams",
               "-show_format", "-of", "json", str(path)]  # fmt: skip
    found: dict[str, Any] = json.loads(
        subprocess.run(command, capture_output=True, check=True).stdout
    )
    return found


def test_event_has_times_score_and_boxes(
    client: TestClient, video: dict[str, Any], event: dict[str, Any]
) -> None:
    assert video["analysis"]["event_count"] == 1
    assert event["start"] == pytest.approx(3, abs=0.5)
    assert event["end"] == pytest.approx(6, abs=0.7)
    assert event["start"] <= event["peak_time"] <= event["end"]
    assert 0.01 < event["peak_score"] < 0.5
    assert event["boxes"]
    for box in event["boxes"]:
        assert event["start"] <= box["time"] <= event["end"]
        assert 0 <= box["y"] < 0.6
    assert client.get(f"{EVENTS}/{event['id']}").json() == event
    analysis = f"{ANALYSES}/{video['analysis']['id']}/events"
    assert client.get(analysis, params={"minimum_score": 1}).json()["events"] == []
    assert client.get(f"{EVENTS}/{uuid.uuid4()}").status_code == 404


def test_a_region_without_motion_has_no_events(client: TestClient, video: dict[str, Any]) -> None:
    parameters = {"region": {"x": 0, "y": 0.85, "width": 1, "height": 0.15}, "sensitivity": 0.6}
    reply = client.post(f"{VIDEOS}/{video['id']}/analyses", json=parameters)
    assert reply.status_code == 202, reply.text
    location = reply.headers["location"]
    done = eventually(
        lambda: found if (found := client.get(location).json())["status"] == "done" else None
    )
    assert (done["event_count"], done["parameters"]["region"]["height"]) == (0, 0.15)
    listed = client.get(ANALYSES, params={"video_id": video["id"], "limit": 1}).json()
    assert listed["analyses"] == [done]
    assert listed["next_cursor"] is not None
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404


def test_zones_and_masks_are_kept_as_they_were_given(
    client: TestClient, video: dict[str, Any]
) -> None:
    area = {"x": 0.0, "y": 0.5, "width": 0.5, "height": 0.5}
    triangle = {"points": [[0.5, 0.0], [1.0, 0.0], [1.0, 0.25]]}
    for given, region in (
        ({"zones": [area, triangle], "masks": [triangle]}, None),
        ({"zones": [triangle], "masks": []}, None),
        ({"zones": [area], "masks": [triangle]}, area),
    ):
        reply = client.post(f"{VIDEOS}/{video['id']}/analyses", json=given)
        assert reply.status_code == 202, reply.text
        found = reply.json()["parameters"]
        assert {name: found[name] for name in ("zones", "masks", "region")} == given | {
            "region": region
        }
        client.post(f"{reply.headers['location']}/cancel")
        # Asked for as before.
    same = client.post(f"{VIDEOS}/{video['id']}/analyses", json={"region": area})
    assert same.json()["parameters"]["zones"] == [area]
    client.post(f"{same.headers['location']}/cancel")
    for each in client.get(ANALYSES, params={"video_id": video["id"]}).json()["analyses"][:-1]:
        assert client.delete(f"{ANALYSES}/{each['id']}").status_code == 204


def test_sizes_are_those_shown_and_times_those_of_the_clock_on_the_wall(
    client: TestClient, video: dict[str, Any], event: dict[str, Any]
) -> None:
    video = client.get(f"{VIDEOS}/{video['id']}").json()
    assert (video["width"], video["height"]) == (320, 240)
    assert (video["display_width"], video["display_height"]) == (427, 240)
    assert video["analysis"]["result"]["display_width"] == 427
    assert (video["playable"], video["has_preview"]) == (True, False)
    assert client.get(f"{VIDEOS}/{video['id']}/preview").status_code == 404
    assert video["recorded_at"] == "2026-03-01T10:20:30Z"
    recorded_at = datetime.fromisoformat(video["recorded_at"])
    for name, seconds in (("started_at", event["start"]), ("ended_at", event["end"])):
        found = datetime.fromisoformat(event[name]) - recorded_at
        assert found.total_seconds() == pytest.approx(seconds, abs=1e-4)


def test_pictures_of_lists_are_stored_by_the_analysis(
    client: TestClient, video: dict[str, Any], event: dict[str, Any], settings: Settings
) -> None:
    kept = {path.name: path.read_bytes() for path in (settings.data_dir / "kept").rglob("*.jpg")}
    assert len(kept) == 3
    with occupied(client, "picture_limiter"), occupied(client, "clip_limiter"):
        for url, name in (
            (f"{VIDEOS}/{video['id']}/thumbnail?width=160", "video-160.jpg"),
            (f"{VIDEOS}/{video['id']}/thumbnail", "video-320.jpg"),
            (f"{EVENTS}/{event['id']}/thumbnail", f"{event['analysis_id']}-0-320.jpg"),
        ):
            assert client.get(url).content == kept[name]


@contextmanager
def occupied(client: TestClient, name: str) -> Iterator[None]:
    """Let requests that never end take all threads of a limiter."""
    assert client.portal is not None
    limiter = getattr(client.app.state.context, name)  # type: ignore[attr-defined]  # of create_app
    requests = [object() for _ in range(int(limiter.total_tokens))]
    for request in requests:
        client.portal.call(limiter.acquire_on_behalf_of, request)
    try:
        yield
    finally:
        for request in requests:
            client.portal.call(limiter.release_on_behalf_of, request)


def test_picture_does_not_wait_for_clips(client: TestClient, video: dict[str, Any]) -> None:
    with occupied(client, "clip_limiter"):
        reply = client.get(f"{VIDEOS}/{video['id']}/thumbnail", params={"time": 2, "width": 640})
        assert reply.status_code == 200


def test_video_that_browsers_cannot_play_has_a_preview(
    client: TestClient, clip_dir: Path, settings: Settings, tmp_path: Path
) -> None:
    path = clips.pattern(clip_dir / "preview.ts", seconds=2)
    with path.open("rb") as file:
        stored = client.post(VIDEOS, files={"file": ("preview.ts", file)}).json()
    assert (stored["playable"], stored["has_preview"]) == (False, False)
    found = finished(client, stored["id"])
    assert (found["analysis"]["status"], found["has_preview"]) == ("done", True)
    url = f"{VIDEOS}/{stored['id']}/preview"
    whole = client.get(url)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "preview.mp4").write_bytes(whole.content)
    facts = probed(tmp_path / "preview.mp4")
    assert facts["streams"][0]["codec_name"] == "h264"
    assert float(facts["format"]["duration"]) == pytest.approx(2, abs=0.1)
    assert client.get(url, headers={"range": "bytes=0-3"}).content == whole.content[:4]
    assert client.delete(f"{VIDEOS}/{stored['id']}").status_code == 204
    assert client.get(url).status_code == 404
    assert not list((settings.data_dir / "kept").rglob("preview.mp4"))


@pytest.mark.parametrize(
    "parameters",
    [
        {"sensitivity": 2},
        {"sensitivity": "NaN"},
        {"minimum_duration": -1},
        {"frame_rate": 1000},
        {"region": {"x": 0.5, "y": 0, "width": 0.6, "height": 1}},
        {"zones": [{"points": [[0, 0], [1, 1]]}]},
        {"zones": [{"points": [[0, 0], [1, 1], [2, 0]]}]},
        {"zones": [{"x": 0, "y": 0, "width": 1, "height": 1}] * 21},
        {"masks": [{"x": 0, "y": 0, "width": 1, "height": 1}]},
        {
            "zones": [{"points": [[0, 0], [1, 0], [0, 1]]}],
            "region": {"x": 0, "y": 0, "width": 1, "height": 1},
        },
        {"colour": "red"},
        [],
        "text",
    ],
)
def test_invalid_parameters_are_rejected(
    parameters: object, client: TestClient, video: dict[str, Any]
) -> None:
    reply = client.post(f"{VIDEOS}/{video['id']}/analyses", json=parameters)
    assert reply.status_code == 422
    assert reply.json()["errors"]


def test_oversized_body_is_rejected_without_being_read(
    client: TestClient, video: dict[str, Any]
) -> None:
    url = f"{VIDEOS}/{video['id']}/analyses"
    assert client.post(url, content=b"[" * 100_000).status_code == 413
    unannounced = client.post(url, content=iter([b"[" * 50_000] * 3))
    assert (unannounced.status_code, unannounced.json()["status"]) == (413, 413)
    deep = client.post(url, content=b"[" * 60_000, headers={"content-type": "application/json"})
    assert deep.status_code == 400


def test_timeline_shows_when_something_moves(client: TestClient, video: dict[str, Any]) -> None:
    base = f"{ANALYSES}/{video['analysis']['id']}/timeline"
    timeline = client.get(base).json()
    scores, bucket = timeline["scores"], timeline["bucket"]
    assert len(scores) * bucket == pytest.approx(9, abs=1)
    for number, score in enumerate(scores):
        if number * bucket < 2 or number * bucket > 7.5:
            assert score < 0.005, (number, timeline)
    assert max(scores) > 0.01
    drawing = client.get(f"{base}.svg")
    assert drawing.headers["content-type"] == "image/svg+xml"
    svg = ET.fromstring(drawing.text)
    assert svg.get("viewBox") == f"0 0 {len(scores)} 100"
    drawn = svg[1].get("d", "")
    assert drawn.count("M") == sum(score > 0.0001 for score in scores)


@pytest.mark.parametrize("width", [160, 320, 640])
def test_thumbnails_are_jpegs_of_the_requested_width(
    width: int, client: TestClient, video: dict[str, Any], event: dict[str, Any], tmp_path: Path
) -> None:
    for path in (f"{EVENTS}/{event['id']}", f"{VIDEOS}/{video['id']}"):
        reply = client.get(f"{path}/thumbnail", params={"width": width})
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg")
        assert "immutable" in reply.headers["cache-control"]
        (tmp_path / "t.jpg").write_bytes(reply.content)
        assert probed(tmp_path / "t.jpg")["streams"][0]["width"] == width
        again = client.get(f"{path}/thumbnail", params={"width": width})
        assert again.content == reply.content
    assert client.get(f"{VIDEOS}/{video['id']}/thumbnail?width=161").status_code == 422
    assert client.get(f"{VIDEOS}/{video['id']}/thumbnail?time=inf").status_code == 422


def test_thumbnail_shows_the_requested_time(client: TestClient, video: dict[str, Any]) -> None:
    def thumbnail(moment: float) -> bytes:
        reply = client.get(f"{VIDEOS}/{video['id']}/thumbnail", params={"time": moment})
        assert reply.status_code == 200, reply.text
        return reply.content

    assert thumbnail(1) == thumbnail(1.04)
    assert thumbnail(1) != thumbnail(4.5)
    thumbnail(1000)  # after the end: the last frame


def test_clip_covers_the_event_and_supports_range_requests(
    client: TestClient, event: dict[str, Any], tmp_path: Path
) -> None:
    url = f"{EVENTS}/{event['id']}/clip"
    whole = client.get(url)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "clip.mp4").write_bytes(whole.content)
    facts = probed(tmp_path / "clip.mp4")
    assert facts["streams"][0]["codec_name"] == "h264"
    expected = event["end"] - event["start"] + 2
    assert float(facts["format"]["duration"]) == pytest.approx(expected, abs=0.5)
    part = client.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"


def test_original_supports_range_requests_and_never_renders_as_a_page(
    client: TestClient, video: dict[str, Any], settings: Settings
) -> None:
    url = f"{VIDEOS}/{video['id']}/content"
    whole = client.get(url)
    stored = next((settings.data_dir / "videos").rglob(video["id"])).read_bytes()
    assert whole.content == stored
    assert whole.headers["content-type"] == "video/mp4"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert whole.headers["content-disposition"] == 'inline; filename="crossing.mp4"'
    assert client.get(url, headers={"range": "bytes=-5"}).content == stored[-5:]
    assert client.head(url).headers["content-length"] == str(len(stored))
    etag = {"range": "bytes=0-4", "if-range": whole.headers["etag"]}
    assert client.get(url, headers=etag).content == stored[:5]
    for asked, status in (("bytes=99999999-", 416), ("bytes=x-y", 400), ("bytes", 400)):
        reply = client.get(url, headers={"range": asked})
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == status


def test_metrics_cover_the_service_and_its_requests(
    client: TestClient, video: dict[str, Any]
) -> None:
    client.get(f"{VIDEOS}/{video['id']}")
    client.get("/nowhere")
    client.request("BREW", "/api/v1/videos")
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    text = reply.text
    assert "\nvideos 1.0\n" in text
    assert 'analyses{status="running"} 0.0' in text
    assert f"videos_bytes {video['size']}" in text.replace(".0", "")
    route = 'method="GET",route="/api/v1/videos/{video_id}",status="200"'
    assert f"http_request_duration_seconds_count{{{route}}}" in text
    assert 'route="unmatched",status="404"' in text
    assert 'method="other"' in text
    assert "process_resident_memory_bytes" in text
    assert video["id"] not in text


def test_liveness_and_readiness_probes_differ(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    # A check may take too long once on a busy machine.
    ready = eventually(lambda: (it := client.get("/health/ready")).is_success and it.json())
    assert ready["status"] == "ready"
    assert set(ready["checks"]) == {"database", "migrations", "disk"}


def test_deleting_a_video_deletes_its_derived_files(
    client: TestClient, video: dict[str, Any], event: dict[str, Any], settings: Settings
) -> None:
    client.get(f"{EVENTS}/{event['id']}/thumbnail")
    derived = settings.data_dir / "derived"
    assert [path for path in derived.rglob("*") if path.is_file()]
    assert client.delete(f"{VIDEOS}/{video['id']}").status_code == 204
    for folder in ("derived", "kept", "videos", "incoming"):
        left = [path for path in (settings.data_dir / folder).rglob("*") if path.is_file()]
        assert left == []
    for path in (f"{EVENTS}/{event['id']}", f"{EVENTS}/{event['id']}/thumbnail",
                 f"{EVENTS}/{event['id']}/clip", f"{VIDEOS}/{video['id']}/content"):  # fmt: skip
        assert client.get(path).status_code == 404
