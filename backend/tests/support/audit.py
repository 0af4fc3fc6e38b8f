"""What must be true whatever happened: rows and files agree, and everything was done once."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from tests.support.servers import eventually

VIDEOS = "/api/v1/videos"
FINAL = ("done", "failed", "cancelled")


def every(url: str, path: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield all rows of a list, page by page."""
    cursor: str | None = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        reply = httpx2.get(url + path, params={"limit": "100"} | more, timeout=60)
        assert reply.status_code == 200, reply.text
        page = reply.json()
        yield from page[key]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def grow_old(data: Path) -> None:
    """Make what a dead process left behind as old as it has to be to be swept."""
    for path in (data / "incoming").iterdir():
        os.utime(path, (0, 0))


def settled(url: str, *, timeout: float = 180) -> list[dict[str, Any]]:
    """Wait until no analysis is under way; return all of them."""

    def ask() -> list[dict[str, Any]] | None:
        found = list(every(url, "/api/v1/analyses", "analyses"))
        return found if all(row["status"] in FINAL for row in found) else None

    return eventually(ask, timeout=timeout)


def check(url: str, data: Path, *, accepted: dict[str, str]) -> None:
    """Check rows against files; `accepted`: sha256 by id of every upload answered with 201."""
    rows = {row["id"]: row for row in every(url, VIDEOS, "videos")}
    for video_id, sha256 in accepted.items():
        assert rows[video_id]["sha256"] == sha256, f"{video_id} was accepted and is not there"
    for video_id, row in rows.items():
        content = httpx2.get(f"{url}{VIDEOS}/{video_id}/content", timeout=60).content
        assert hashlib.sha256(content).hexdigest() == row["sha256"], f"{video_id} has changed"
    files = {path.name for path in (data / "videos").rglob("*") if path.is_file()}
    assert files == set(rows), "files without rows, or rows without files"


def nothing_left(data: Path) -> bool:
    """Tell whether neither uploads nor marks lie about."""
    return not list((data / "incoming").iterdir())


def done_once(url: str) -> None:
    """Wait for the work to end; check that every video has one analysis, done, with one result."""
    analyses = settled(url)
    analysed = sorted(row["video_id"] for row in analyses)
    assert analysed == sorted(row["id"] for row in every(url, VIDEOS, "videos"))
    assert {row["status"] for row in analyses} <= {"done"}, [
        (row["id"], row["status"], row.get("reason")) for row in analyses
    ]
    for row in analyses:
        events = list(every(url, f"/api/v1/analyses/{row['id']}/events", "events"))
        positions = [found["position"] for found in events]
        assert positions == list(range(len(events))), "events were stored twice"
