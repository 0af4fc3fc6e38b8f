"""Whatever the service waits for, it does not wait forever."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import db
from app.api import monitor
from app.api.monitor import Monitor
from app.services.health import Check
from app.settings import load_settings

PASSED, BROKEN = Check(ok=True, detail="fine"), Check(ok=False, detail="broken")


def test_answer_of_postgresql_has_a_deadline(
    new_postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "ANSWER_TIMEOUT_S", 0.5)
    url = load_settings({"database_url": SecretStr(new_postgres_url())}).sqlalchemy_url()
    database = db.Database(url)
    try:
        began = time.monotonic()
        with (
            pytest.raises(OperationalError, match=r"the server did not answer within 0\.5 s"),
            database.reading() as session,
        ):
            session.execute(text("SELECT pg_sleep(20)"))
        assert time.monotonic() - began < 5
        # The connection is closed, and another takes its place.
        with database.writing() as session:
            assert session.scalar(text("SELECT 1")) == 1
    finally:
        database.close()
    unlimited = db.make_engine(url, deadline=False)
    with unlimited.connect() as connection:
        connection.execute(text("SELECT pg_sleep(1)"))
    unlimited.dispose()


def test_check_that_never_ends_runs_once_and_fails_when_patience_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor, "DEADLINE_S", 0.05)
    monkeypatch.setattr(monitor, "PATIENCE_S", 0.3)
    blocked, release = threading.Event(), threading.Event()
    calls: list[None] = []

    def slow() -> Check:
        calls.append(None)
        if blocked.is_set():
            release.wait(20)
        return PASSED

    def fail() -> Check:
        raise ValueError

    checks = Monitor({"slow": slow, "fine": lambda: PASSED, "broken": lambda: BROKEN, "bug": fail})

    async def run() -> None:
        first = await checks.check("slow", "fine", "broken", "bug")
        assert (first["slow"], first["fine"], first["broken"]) == (PASSED, PASSED, BROKEN)
        assert first["bug"].detail == "the check failed (ValueError)"
        blocked.set()
        assert (await checks.check("slow"))["slow"] == PASSED  # so far
        began = time.monotonic()
        while (found := (await checks.check("slow", "fine"))["slow"]).ok:
            assert time.monotonic() - began < 5
        assert found.detail.startswith("no answer for 0.")
        assert len(calls) == 2
        release.set()
        while not (await checks.check("slow"))["slow"].ok:
            assert time.monotonic() - began < 5

    asyncio.run(run())
