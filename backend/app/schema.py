"""The state of the schema, and bringing it up to date.

Revision ids are the dates that migration files begin with, so the newest file is the head: health
checks and an ordinary start need not import Alembic (0.1 s). A test holds this against Alembic's
own opinion. The lock that lets several starting replicas migrate once is taken in
`migrations/env.py`, where `alembic upgrade head` on the command line passes too.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text

from app.db import make_engine
from app.models import Base

ROOT = Path(__file__).absolute().parent.parent
VERSIONS = ROOT / "migrations" / "versions"
REVISION_CHARACTERS = len("20260101_0000")


@dataclass(frozen=True)
class MigrationState:
    """Where the database is and where it should be."""

    current: str | None
    """None for a database without our tables."""
    head: str

    @property
    def pending(self) -> bool:
        """Tell whether migrations have to run before this version can serve.

        A database ahead of this version is fine: migrations only add, so that the old version can
        go on while the new one starts.
        """
        return self.current is None or self.current < self.head


def head_revision() -> str:
    """Return the revision this version of the code needs."""
    return max(path.name[:REVISION_CHARACTERS] for path in VERSIONS.glob("[0-9]*.py"))


def migration_state(connection: Connection) -> MigrationState:
    """Read the database's revision."""
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return MigrationState(current=current, head=head_revision())


def upgrade(database_url: str) -> None:
    """Run the pending migrations, or wait for whoever is running them.

    An empty SQLite database gets the newest tables at once: a first start then need not import
    Alembic either. Tests hold the result against that of the migrations.
    """
    if make_url(database_url).get_backend_name() == "sqlite" and _created(database_url):
        return
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(ROOT / "migrations"))
    command.upgrade(config, "head")


def _created(database_url: str) -> bool:
    """Create all tables if there are none, behind the lock that migrations take too."""
    engine = make_engine(database_url)
    try:
        connection = engine.connect().execution_options(sqlite_begin="EXCLUSIVE")
        with connection, connection.begin():
            if inspect(connection).get_table_names():
                return False
            Base.metadata.create_all(connection)
            # As Alembic would make it.
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
