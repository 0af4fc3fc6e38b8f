"""The stream of one listener, step by step: heartbeat, the end of the service, a lost database."""

import asyncio
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from tests.support import rows

from app.api import progress
from app.api.progress import ProgressHub
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


def test_a_quiet_stream_is_kept_alive_and_ends_with_the_service(
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
    assert seen[2:] == [b": still here\n\n"] * 2


def test_a_change_reaches_the_stream_although_the_database_was_away(
    database: Database, analysis_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.02)

    async def listen() -> bytes:
        hub = ProgressHub(database)
        look, failures = hub._look, [OperationalError("x", None, Exception()), RuntimeError("y")]

        def failing(ids: list[uuid.UUID]) -> Any:
            if failures:
                raise failures.pop()
            return look(ids)

        monkeypatch.setattr(hub, "_look", failing)
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
