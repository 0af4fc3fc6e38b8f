"""Whether the service can do its work: database, migrations, broker, disk."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.schema import migration_state
from app.services.queue import AnalysisQueue, WorkerState
from app.services.storage import Storage

# A full disk often still has room for an empty file, so something is really written.
_TRIAL = b"\0" * 65536

_BROKER = {
    WorkerState.EMBEDDED: "none is needed: this service carries out analyses itself",
    WorkerState.CELERY: "it answers",
    WorkerState.UNREACHABLE: "it does not answer; what is queued is kept until it does",
    WorkerState.STOPPED: "nobody carries out analyses: the worker dies as soon as it starts",
}


@dataclass(frozen=True)
class Check:
    """One finding."""

    ok: bool
    detail: str
    facts: dict[str, str | int | None] = field(default_factory=dict)


def check_ready(*, database: Database, storage: Storage) -> dict[str, Check]:
    """Look at what requests need: not the broker, since work is accepted and kept without it."""
    return {
        "database": _guarded(lambda: _database(database)),
        "migrations": _guarded(lambda: _migrations(database)),
        "disk": _guarded(lambda: _disk(storage)),
    }


def check_all(
    *, database: Database, storage: Storage, queue: AnalysisQueue
) -> tuple[dict[str, Check], WorkerState]:
    """Look at everything; never raises. The checks are keyed by name, in a fixed order."""
    worker = queue.state()
    works = worker in (WorkerState.EMBEDDED, WorkerState.CELERY)
    checks = check_ready(database=database, storage=storage)
    checks["broker"] = Check(works, _BROKER[worker])
    return checks, worker


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except SQLAlchemyError as error:
        # The text of database errors names hosts and users; the class says enough to strangers.
        return Check(ok=False, detail=f"the database does not answer ({type(error).__name__})")
    except OSError as error:
        return Check(ok=False, detail=f"DATA_DIR cannot be written: {error.strerror}")


def _database(database: Database) -> Check:
    with database.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return Check(ok=True, detail=database.engine.dialect.name)


def _migrations(database: Database) -> Check:
    with database.engine.connect() as connection:
        state = migration_state(connection)
    return Check(
        ok=not state.pending,
        detail=(
            "pending: run `alembic upgrade head`"
            if state.pending
            else "up to date"
            if state.current == state.head
            else "ahead: a newer version has migrated"
        ),
        facts={"current": state.current, "head": state.head},
    )


def _disk(storage: Storage) -> Check:
    with tempfile.TemporaryFile(dir=storage.root) as file:
        file.write(_TRIAL)
        os.fsync(file.fileno())
    return Check(
        ok=True, detail="writable", facts={"free_bytes": shutil.disk_usage(storage.root).free}
    )
