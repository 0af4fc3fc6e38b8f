"""Invariants after any failure: rows and files are consistent, every analysis was done once."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import web
from tests.support.servers import eventually

VIDEOS = "/api/v1/videos"
FINAL = ("done", "failed", "cancelled")


class AuditError(AssertionError):
    """An invariant is violated."""


def _require(condition: bool, message: object) -> None:  # noqa: FBT001 - like an assertion
    if not condition:
        raise AuditError(message)


def iterate(url: str, path: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield all rows of a list, page by page."""
    cursor: str | None = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        reply = web.get(url + path, params={"limit": "100"} | more, timeout=60)
        _require(reply.status_code == 200, reply.text)
        page = reply.json()
        yield from page[key]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def age_incoming(data: Path) -> None:
    """Make the files that dead processes left behind old enough to be swept."""
    for path in (data / "incoming").iterdir():
        os.utime(path, (0, 0))


def wait_until_finished(url: str, *, timeout: float = 300) -> list[dict[str, Any]]:
    """Wait until all analyses are finished; return them."""

    def poll() -> list[dict[str, Any]] | None:
        rows = list(iterate(url, "/api/v1/analyses", "analyses"))
        return rows if all(row["status"] in FINAL for row in rows) else None

    return eventually(poll, timeout=timeout)


def check(url: str, data: Path, *, accepted: dict[str, str]) -> None:
    """Check rows against files; `accepted` maps the id of each accepted upload to its sha256."""
    rows = {row["id"]: row for row in iterate(url, VIDEOS, "videos")}
    for video_id, sha256 in accepted.items():
        stored = rows.get(video_id, {}).get("sha256")
        _require(stored == sha256, f"{video_id} was accepted but is missing")
    with web.Client(timeout=60) as client:
        for video_id, row in rows.items():
            content = client.get(f"{url}{VIDEOS}/{video_id}/content").content
            _require(
                hashlib.sha256(content).hexdigest() == row["sha256"], f"{video_id} has changed"
            )
    files = {path.name for path in (data / "videos").rglob("*") if path.is_file()}
    _require(files == set(rows), f"files without rows, or rows without files: {files ^ set(rows)}")


def incoming_is_empty(data: Path) -> bool:
    """Return whether there are neither partial uploads nor marks."""
    return not list((data / "incoming").iterdir())


def check_all_done_once(url: str) -> None:
    """Wait for all analyses; check that every video has exactly one, done, with one result."""
    analyses = wait_until_finished(url)
    analysed = sorted(row["video_id"] for row in analyses)
    stored = sorted(row["id"] for row in iterate(url, VIDEOS, "videos"))
    _require(analysed == stored, f"{len(analysed)} analyses for {len(stored)} videos")
    for row in analyses:
        _require(row["status"] == "done", row)
        events = list(iterate(url, f"/api/v1/analyses/{row['id']}/events", "events"))
        positions = [event["position"] for event in events]
        _require(positions == list(range(len(events))), "events were stored twice")
