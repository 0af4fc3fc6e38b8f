"""A single progress stream, step by step: heartbeat, shutdown, database outage."""

import asyncio
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from tests.support import rows

from app.api import progress, progress_hub
from app.api.progress_hub import ProgressHub
from app.db import Database
from app.services import analyses
from app.video import Parameters


@pytest.fixture
def analysis_id(database: Database) -> uuid.UUID:
    video_id = rows.video(database)
    with database.writing() as session:
        return analyses.request(session, video_id=video_id, parameters=Parameters())[0].id


def stream(hub: ProgressHub, database: Database, analysis_id: uuid.UUID) -> Any:
    context: Any = SimpleNamespace(database=database, progress=hub)
    return progress._events(context, [analysis_id], seen={}, resumable=True)


def test_idle_stream_sends_heartbeats_and_ends_on_shutdown(
    database: Database, analysis_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.05)

    async def listen() -> list[bytes]:
        hub = ProgressHub(database)
        events = stream(hub, database, analysis_id)
        seen = [await anext(events) for _ in range(4)]
        hub.close()
        seen += [event async for event in events]
        assert not hub._watched
        return seen

    seen = asyncio.run(listen())
    assert b"retry: 2000" in seen[0]
    assert b"event: progress" in seen[1]
    assert seen[2:] == [b": heartbeat\n\n"] * 2


def test_stream_resumes_after_a_database_outage(
    database: Database, analysis_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_hub, "INTERVAL_S", 0.02)

    async def listen() -> bytes:
        hub = ProgressHub(database)
        poll, failures = hub._poll, [OperationalError("x", None, Exception()), RuntimeError("y")]

        def failing(ids: list[uuid.UUID]) -> Any:
            if failures:
                raise failures.pop()
            return poll(ids)

        monkeypatch.setattr(hub, "_poll", failing)
        events = stream(hub, database, analysis_id)
        watching = asyncio.create_task(hub.run())
        await anext(events)
        assert b'"queued"' in await anext(events)
        with database.writing() as session:
            analyses.cancel(session, analysis_id=analysis_id, now=datetime.now(UTC))
        changed: bytes = await anext(events)
        assert b"event: end" in await anext(events)
        assert not failures
        watching.cancel()
        return changed

    assert b'"cancelled"' in asyncio.run(asyncio.wait_for(listen(), 20))
