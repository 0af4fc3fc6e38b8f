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


class AuditError(AssertionError):
    """Something is amiss."""


def _demand(true: bool, what: object) -> None:  # noqa: FBT001 - reads as a sentence
    if not true:
        raise AuditError(what)


def every(url: str, path: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield all rows of a list, page by page."""
    cursor: str | None = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        reply = httpx2.get(url + path, params={"limit": "100"} | more, timeout=60)
        _demand(reply.status_code == 200, reply.text)
        page = reply.json()
        yield from page[key]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def grow_old(data: Path) -> None:
    """Make what a dead process left behind as old as it has to be to be swept."""
    for path in (data / "incoming").iterdir():
        os.utime(path, (0, 0))


def settled(url: str, *, timeout: float = 300) -> list[dict[str, Any]]:
    """Wait until no analysis is under way; return all of them."""

    def ask() -> list[dict[str, Any]] | None:
        found = list(every(url, "/api/v1/analyses", "analyses"))
        return found if all(row["status"] in FINAL for row in found) else None

    return eventually(ask, timeout=timeout)


def check(url: str, data: Path, *, accepted: dict[str, str]) -> None:
    """Check rows against files; `accepted`: sha256 by id of every upload answered with 201."""
    rows = {row["id"]: row for row in every(url, VIDEOS, "videos")}
    for video_id, sha256 in accepted.items():
        kept = rows.get(video_id, {}).get("sha256")
        _demand(kept == sha256, f"{video_id} was accepted and is not there")
    with httpx2.Client(timeout=60) as client:
        for video_id, row in rows.items():
            content = client.get(f"{url}{VIDEOS}/{video_id}/content").content
            _demand(hashlib.sha256(content).hexdigest() == row["sha256"], f"{video_id} has changed")
    files = {path.name for path in (data / "videos").rglob("*") if path.is_file()}
    _demand(files == set(rows), f"files without rows, or the reverse: {files ^ set(rows)}")


def nothing_left(data: Path) -> bool:
    """Tell whether neither uploads nor marks lie about."""
    return not list((data / "incoming").iterdir())


def done_once(url: str) -> None:
    """Wait for the work to end; check that every video has one analysis, done, with one result."""
    analyses = settled(url)
    analysed = sorted(row["video_id"] for row in analyses)
    stored = sorted(row["id"] for row in every(url, VIDEOS, "videos"))
    _demand(analysed == stored, f"{len(analysed)} analyses of {len(stored)} videos")
    for row in analyses:
        _demand(row["status"] == "done", row)
        events = list(every(url, f"/api/v1/analyses/{row['id']}/events", "events"))
        positions = [found["position"] for found in events]
        _demand(positions == list(range(len(events))), "events were stored twice")
