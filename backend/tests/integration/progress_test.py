"""Live progress from a real server: streams, resuming, cancelling, stopping."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support import clips, servers, web
from tests.support.servers import eventually

VIDEOS, ANALYSES = "/api/v1/videos", "/api/v1/analyses"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, slowly: dict[str, str]) -> Iterator[str]:
    home = tmp_path_factory.mktemp("service")
    with servers.api(home / "data", log=home / "log", variables=slowly) as (url, _process):
        yield url


def request_analysis(url: str, path: Path, **parameters: Any) -> str:
    """Upload a video unless it exists, queue an analysis, and return the analysis's id."""
    with path.open("rb") as file:
        video = web.post(
            f"{url}{VIDEOS}?analyse=false", files={"file": (path.name, file)}, timeout=60
        ).json()
    reply = web.post(f"{url}{VIDEOS}/{video['id']}/analyses", json=parameters, timeout=60)
    found: str = reply.json()["id"]
    return found


def read(stream: httpx2.Response) -> Iterator[dict[str, str]]:
    """Yield the fields of each event of a stream."""
    fields: dict[str, str] = {}
    for line in stream.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name or "comment"] = value.strip()
        elif fields:
            yield fields
            fields = {}


def follow(url: str, analysis_id: str, **headers: str) -> list[dict[str, str]]:
    place = f"{url}{ANALYSES}/{analysis_id}/progress"
    with web.stream("GET", place, headers=headers, timeout=60) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        return list(read(stream))


def state(url: str, analysis_id: str) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"{url}{ANALYSES}/{analysis_id}", timeout=10).json()
    return found


def test_stream_reports_every_change_to_the_end_and_resumes(url: str, long_clip: Path) -> None:
    analysis_id = request_analysis(url, long_clip)
    events = follow(url, analysis_id)
    states = [json.loads(event["data"]) for event in events if event.get("event") == "progress"]
    assert states[-1] == state(url, analysis_id)
    assert (states[-1]["status"], events[-1]["event"]) == ("done", "end")
    assert "running" in [item["status"] for item in states]
    progress = [item["progress"] for item in states]
    assert progress == sorted(progress)
    assert any(0 < share < 1 for share in progress), progress
    revisions = [int(event["id"]) for event in events if "id" in event]
    assert revisions == sorted(set(revisions)) == [item["revision"] for item in states]
    again = follow(url, analysis_id, **{"last-event-id": str(revisions[0])})
    assert [int(event["id"]) for event in again if "id" in event] == revisions[-1:]
    seen_all = {"last-event-id": str(revisions[-1])}
    place = f"{url}{ANALYSES}/{analysis_id}/progress"
    assert web.get(place, headers=seen_all).status_code == 204


def test_all_listeners_are_notified(url: str, clip_dir: Path) -> None:
    path = clips.pattern(clip_dir / "listened.mp4", seconds=20, size="320x240")
    analysis_id = request_analysis(url, path)
    with ThreadPoolExecutor(30) as pool:
        ends = list(pool.map(lambda _: follow(url, analysis_id)[-1]["event"], range(30)))
    assert ends == ["end"] * 30


def test_one_stream_follows_several_analyses_and_reports_deletions(
    url: str, long_clip: Path, clip: Path
) -> None:
    ids = [
        request_analysis(url, long_clip, sensitivity=0.9),
        request_analysis(url, clip, sensitivity=0.9),
    ]
    video_id = state(url, ids[0])["video_id"]
    received: list[dict[str, str]] = []
    with web.stream(
        "GET", f"{url}/api/v1/progress", params={"analysis": ids}, timeout=60
    ) as stream:
        for event in read(stream):
            received.append(event)
            if len([one for one in received if one.get("event") == "progress"]) == 2:
                web.delete(f"{url}{VIDEOS}/{video_id}", timeout=60)
    assert {"event": "deleted", "data": ids[0]} in received
    assert received[-1]["event"] == "end"
    assert not any("id" in event for event in received)
    last = [json.loads(event["data"]) for event in received if event.get("event") == "progress"][-1]
    assert (last["id"], last["status"]) == (ids[1], "done")


def test_running_analysis_is_cancelled_within_seconds_and_can_be_retried(
    url: str, long_clip: Path, clip: Path
) -> None:
    analysis_id = request_analysis(url, long_clip, sensitivity=0.2)
    place = f"{url}{ANALYSES}/{analysis_id}"
    assert web.post(f"{place}/retry").status_code == 409
    eventually(lambda: state(url, analysis_id)["status"] == "running")
    assert web.delete(place).status_code == 409
    began = time.monotonic()
    cancelled = web.post(f"{place}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert web.post(f"{place}/cancel").status_code == 200
    other = request_analysis(url, clip, sensitivity=0.2)  # the worker is free again
    eventually(lambda: state(url, other)["status"] == "done")
    assert time.monotonic() - began < 30
    assert state(url, analysis_id)["status"] == "cancelled"
    again = web.post(f"{place}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    follow(url, analysis_id)
    done = state(url, analysis_id)
    assert (done["status"], done["attempts"], done["reason"]) == ("done", 1, None)
    for action in ("cancel", "retry"):
        assert web.post(f"{place}/{action}").status_code == 409


def test_shutdown_ends_streams_and_hands_the_analysis_back(
    tmp_path: Path, long_clip: Path, slowly: dict[str, str]
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    ended = threading.Event()
    with servers.api(data, log=log, variables=slowly) as (url, process):
        analysis_id = request_analysis(url, long_clip)
        eventually(lambda: state(url, analysis_id)["status"] == "running")

        def listen() -> None:
            follow(url, analysis_id)  # raises if the connection is cut instead of closed
            ended.set()

        thread = threading.Thread(target=listen)
        thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        process.stop()
        assert time.monotonic() - began < 15
        thread.join()
        assert ended.is_set()
        assert "handed_back" in process.output()
        assert "service.stopped" in process.output()


def test_unknown_analyses_cannot_be_follow(url: str) -> None:
    assert web.get(f"{url}{ANALYSES}/{'0' * 32}/progress").status_code == 404
    assert web.get(f"{url}/api/v1/progress").status_code == 422
    many = {"analysis": ["0" * 32] * 101}
    assert web.get(f"{url}/api/v1/progress", params=many).status_code == 422
    gone = web.get(f"{url}/api/v1/progress", params={"analysis": "0" * 32})
    assert "event: deleted" in gone.text
