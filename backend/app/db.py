"""Engine and transactions, for SQLite and PostgreSQL alike.

SQLite runs in WAL mode with foreign keys on and a busy timeout. Python 3.11's sqlite3 starts
transactions late and not at all before DDL, so its own handling is switched off and BEGIN is sent
here. A transaction that will write says so and gets BEGIN IMMEDIATE: a deferred one that reads
first would fail with SQLITE_BUSY the moment another writer got in between, whatever the timeout
(https://www.sqlite.org/isolation.html).
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import libpq

# How SQLite and PostgreSQL say it.
_FULL = re.compile(r"disk is full|No space left on device|could not extend file")
BUSY_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5
# One connection for each of the 40 threads that the server runs requests in, and some for workers.
POOL_SIZE = 20
POOL_OVERFLOW = 28


def out_of_room(error: Exception) -> bool:
    """Tell whether a database or a file system failed because its disk is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, DBAPIError) and _FULL.search(str(error.orig)) is not None


def make_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """Build an engine for `url`; nothing is connected yet.

    `foreign_keys=False` is for migrations, where SQLite rebuilds tables that others refer to.
    """
    if make_url(url).get_backend_name() != "sqlite":
        libpq.make_findable()
        return create_engine(
            url,
            pool_pre_ping=True,  # replace a connection that died with the server
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
    engine = create_engine(url, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we send BEGIN ourselves, below
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        # Durable against a killed process; in WAL mode a power cut may undo, never corrupt.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


class Database:
    """Hands out transactions. One request or one task is one of them, committed at its edge."""

    def __init__(self, url: str) -> None:
        """Remember `url`; the first transaction connects."""
        self.engine = make_engine(url)
        self._writer = self.engine.execution_options(sqlite_begin="IMMEDIATE")
        self._reader = self.engine
        if self.engine.dialect.name == "postgresql":
            # Each read is one statement or two that stand alone: BEGIN and ROLLBACK around them
            # would only be two more journeys to the server.
            self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that changes nothing."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or rolls back if it raises."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()
