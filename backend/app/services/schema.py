"""The database schema: its current revision, and upgrading it.

Revision ids are the dates at the start of migration file names, so the newest file is the head, and
health checks and ordinary starts need not import Alembic (0.1 s). A test compares this with
Alembic's own answer. The lock that makes concurrently starting replicas migrate only once is taken
in `migrations/env.py`, which `alembic upgrade head` on the command line uses too.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text

from app.db import make_engine
from app.models import Base

ROOT = Path(__file__).absolute().parents[2]
VERSIONS = ROOT / "migrations" / "versions"
REVISION_LENGTH = len("20260101_0000")


@dataclass(frozen=True)
class MigrationState:
    """The database's revision and the one this version needs."""

    current: str | None
    """None for an empty database."""
    head: str

    @property
    def pending(self) -> bool:
        """Return whether migrations have to run before this version can serve requests.

        A database ahead of this version is fine: migrations only add, so the old version keeps
        working while the new one starts.
        """
        return self.current is None or self.current < self.head


@functools.cache  # health checks ask for it
def head_revision() -> str:
    """Return the revision that this version of the code needs."""
    return max(path.name[:REVISION_LENGTH] for path in VERSIONS.glob("[0-9]*.py"))


def migration_state(connection: Connection) -> MigrationState:
    """Read the database's current revision."""
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return MigrationState(current=current, head=head_revision())


def upgrade(database_url: str) -> None:
    """Run pending migrations, or wait for the process that is running them.

    In an empty SQLite database, create the latest tables directly, so that a first start need not
    import Alembic either. Tests compare the result with that of the migrations.
    """
    if make_url(database_url).get_backend_name() == "sqlite" and _create_tables(database_url):
        return
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(ROOT / "migrations"))
    command.upgrade(config, "head")


def _create_tables(database_url: str) -> bool:
    """Create all tables if there are none, under the lock that migrations use; return whether."""
    engine = make_engine(database_url)
    try:
        connection = engine.connect().execution_options(sqlite_begin="EXCLUSIVE")
        with connection, connection.begin():
            if inspect(connection).get_table_names():
                return False
            Base.metadata.create_all(connection, checkfirst=False)  # there are none
            # As Alembic would create it.
            connection.execute(
                text(
                    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
                )
            )
            connection.execute(
                text("INSERT INTO alembic_version VALUES (:head)"), {"head": head_revision()}
            )
    finally:
        engine.dispose()
    return True
