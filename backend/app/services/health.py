"""Whether the service can do its work: database, migrations, worker, disk."""

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


@dataclass(frozen=True)
class Check:
    """One finding."""

    ok: bool
    detail: str
    facts: dict[str, str | int | None] = field(default_factory=dict)


def check_all(
    *, database: Database, storage: Storage, queue: AnalysisQueue
) -> tuple[dict[str, Check], WorkerState]:
    """Look at everything; never raises. The checks are keyed by name, in a fixed order."""
    worker = queue.state()
    checks = {
        "database": _guarded(lambda: _database(database)),
        "migrations": _guarded(lambda: _migrations(database)),
        "worker": Check(worker in (WorkerState.EMBEDDED, WorkerState.CELERY), worker.value),
        "disk": _guarded(lambda: _disk(storage)),
    }
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
        detail="pending: run `alembic upgrade head`" if state.pending else "up to date",
        facts={"current": state.current, "head": state.head},
    )


def _disk(storage: Storage) -> Check:
    with tempfile.TemporaryFile(dir=storage.root) as file:
        file.write(_TRIAL)
        os.fsync(file.fileno())
    return Check(
        ok=True, detail="writable", facts={"free_bytes": shutil.disk_usage(storage.root).free}
    )
