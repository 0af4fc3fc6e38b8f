"""The state of the schema, and bringing it up to date.

Revision ids are the dates that migration files begin with, so the newest file is the head: health
checks and an ordinary start need not import Alembic (0.1 s). A test holds this against Alembic's
own opinion. The lock that lets several starting replicas migrate once is taken in
`migrations/env.py`, where `alembic upgrade head` on the command line passes too.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text

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
    """Run the pending migrations, or wait for whoever is running them."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(ROOT / "migrations"))
    command.upgrade(config, "head")
