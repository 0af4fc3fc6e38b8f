"""Health checks: database, migrations, broker, disk."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.sandbox import decoder, system
from app.services.queue import AnalysisQueue, WorkerState
from app.services.schema import migration_state
from app.services.storage import Storage

# A full disk often still has room for an empty file, so write actual data.
_TEST_DATA = b"\0" * 65536

_BROKER = {
    WorkerState.EMBEDDED: "not needed: this service runs analyses itself",
    WorkerState.CELERY: "reachable",
    WorkerState.UNREACHABLE: "unreachable; queued analyses are kept until it is back",
    WorkerState.STOPPED: "no analyses are run: the worker crashes on startup",
}


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    ok: bool
    detail: str
    facts: dict[str, str | int | None] = field(default_factory=dict)
    worker: WorkerState | None = None
    """For the broker: how analyses are run."""


def checks_of(
    *, database: Database, storage: Storage, queue: AnalysisQueue | None = None
) -> dict[str, Callable[[], Check]]:
    """Return the checks by name in a fixed order; they never raise, but may take long.

    Requests need all but the broker: work is accepted and kept without it.
    """
    found: dict[str, Callable[[], Check]] = {
        "database": lambda: _guarded(lambda: _database(database)),
        "migrations": lambda: _guarded(lambda: _migrations(database)),
        "disk": lambda: _guarded(lambda: _disk(storage)),
    }
    if queue is not None:
        found["broker"] = lambda: broker_check(queue.state())
    return found


def broker_check(worker: WorkerState) -> Check:
    """Return the check of whatever runs analyses."""
    working = worker in (WorkerState.EMBEDDED, WorkerState.CELERY)
    return Check(working, _BROKER[worker], worker=worker)


def decoder_isolation() -> list[str]:
    """Return which restrictions of decoders are in force; none if decoders cannot be started."""
    try:
        found = [*decoder.isolation()]
    except OSError:
        return []
    return [*found, "hidden-service"] if system.memory_hidden() else found


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except SQLAlchemyError as error:
        # Database error texts contain hosts and users; expose only the class.
        return Check(ok=False, detail=f"the database is unavailable ({type(error).__name__})")
    except OSError as error:
        return Check(ok=False, detail=f"DATA_DIR is not writable: {error.strerror}")


def _database(database: Database) -> Check:
    with database.monitor.connect() as connection:
        connection.execute(text("SELECT 1"))
    return Check(ok=True, detail=database.monitor.dialect.name)


def _migrations(database: Database) -> Check:
    with database.monitor.connect() as connection:
        state = migration_state(connection)
    return Check(
        ok=not state.pending,
        detail=(
            "pending: run `alembic upgrade head`"
            if state.pending
            else "up to date"
            if state.current == state.head
            else "ahead: migrated by a newer version"
        ),
        facts={"current": state.current, "head": state.head},
    )


def _disk(storage: Storage) -> Check:
    with tempfile.TemporaryFile(dir=storage.root) as file:
        file.write(_TEST_DATA)
        os.fsync(file.fileno())
    return Check(
        ok=True, detail="writable", facts={"free_bytes": shutil.disk_usage(storage.root).free}
    )
