"""Database engine and transactions, for SQLite and PostgreSQL.

SQLite runs in WAL mode with foreign keys on and a busy timeout. Python 3.11's sqlite3 starts
transactions late, and not at all before DDL, so its transaction handling is disabled and BEGIN is
issued here. Writing transactions use BEGIN IMMEDIATE: a deferred one that reads first would fail
with SQLITE_BUSY as soon as another writer commits in between, whatever the timeout
(https://www.sqlite.org/isolation.html).
"""

import ctypes
import ctypes.util
import errno
import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

# The messages of SQLite and PostgreSQL.
_FULL = re.compile(r"disk is full|No space left on device|could not extend file")
BUSY_TIMEOUT_MS = 10_000
MONITOR_TIMEOUT_MS = 500
CONNECT_TIMEOUT_S = 5
# For an answer of PostgreSQL. No statement takes that long, except those of migrations; a server
# that is frozen, or behind a network that has failed, would be waited for without end.
ANSWER_TIMEOUT_S = 30.0
# For a connection of the pool, while all are in use.
POOL_TIMEOUT_S = 15.0
# One connection for each of the server's 40 request threads, plus some for background work.
POOL_SIZE = 20
POOL_OVERFLOW = 28
# Sonames, stable since PostgreSQL 8.2 and glibc 2.0.
_LIBRARIES = {"pq": "libpq.so.5", "c": "libc.so.6"}


def is_disk_full(error: Exception) -> bool:
    """Return whether a database or file operation failed because the disk is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, DBAPIError) and _FULL.search(str(error.orig)) is not None


def make_engine(
    url: str, *, foreign_keys: bool = True, monitoring: bool = False, deadline: bool = True
) -> Engine:
    """Build an engine for `url` without connecting.

    `foreign_keys=False` is for migrations, in which SQLite rebuilds tables that others reference;
    they may take longer than the deadline of other statements, too. `monitoring` is for health
    checks: few connections, and no patience with a locked database.
    """
    size, overflow = (2, 0) if monitoring else (POOL_SIZE, POOL_OVERFLOW)
    if make_url(url).get_backend_name() != "sqlite":
        _patch_find_library()
        engine = create_engine(
            url,
            pool_pre_ping=True,  # replace connections that died with the server
            pool_size=size,
            max_overflow=overflow,
            pool_timeout=POOL_TIMEOUT_S,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
        if deadline:
            _limit_waits(engine)
        return engine
    engine = create_engine(url, pool_size=size, max_overflow=overflow, pool_timeout=POOL_TIMEOUT_S)
    busy_timeout = MONITOR_TIMEOUT_MS if monitoring else BUSY_TIMEOUT_MS

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is issued below
        connection.execute(f"PRAGMA busy_timeout={busy_timeout}")
        connection.execute("PRAGMA journal_mode=WAL")
        # Safe if the process is killed; in WAL mode a power failure may lose the last commits but
        # cannot corrupt the database.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _limit_waits(engine: Engine) -> None:
    """Let every wait for the server end after ANSWER_TIMEOUT_S; the connection is then closed."""
    import psycopg
    from psycopg.errors import _WaitTimeout  # no public name

    class Impatient(psycopg.Connection[Any]):
        """A connection that does not wait forever."""

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            """Wait for the server. Raise psycopg.OperationalError after ANSWER_TIMEOUT_S."""
            limit = ANSWER_TIMEOUT_S if timeout is None else timeout
            try:
                return super().wait(gen, interval=interval, timeout=limit)
            except _WaitTimeout:
                if timeout is not None:
                    raise
                self.pgconn.finish()
                raise psycopg.OperationalError(
                    f"the server did not answer within {ANSWER_TIMEOUT_S:g} s"
                ) from None

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: Any, options: Any) -> Any:
        return Impatient.connect(*arguments, **options)


@functools.cache
def _patch_find_library() -> None:
    """Make `find_library` find libpq without running any program.

    psycopg locates libpq and the C library through `ctypes.util.find_library`, which runs ldconfig,
    gcc or ld to look up names that the dynamic linker knows anyway. That takes time, and the image
    may have none of them.
    """
    original = ctypes.util.find_library

    def find_library(name: str) -> str | None:
        return _if_loadable(_LIBRARIES.get(name)) or original(name)

    ctypes.util.find_library = find_library


def _if_loadable(library: str | None) -> str | None:
    try:
        if library is not None:
            ctypes.CDLL(library)
    except OSError:
        return None  # psycopg reports the missing library itself
    return library


class Database:
    """Provides sessions. Each request or task uses one transaction, committed at its end."""

    def __init__(self, url: str) -> None:
        """Store `url`; the first transaction connects."""
        self.engine = make_engine(url)
        self.monitor = make_engine(url, monitoring=True)
        """For health checks, which would otherwise wait for a connection that requests hold."""
        self._writer = self.engine.execution_options(sqlite_begin="IMMEDIATE")
        self._reader = self.engine
        if self.engine.dialect.name == "postgresql":
            # Each read is one or two independent statements; BEGIN and ROLLBACK around them would
            # only add two round trips.
            self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a read-only session."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or rolls back on an exception."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()
        self.monitor.dispose()
