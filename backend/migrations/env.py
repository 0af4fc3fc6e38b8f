"""Run migrations: from the command line, or from `app.services.schema.upgrade`.

If several processes start at once, one migrates while the others wait and then find nothing to do.
PostgreSQL: an advisory lock held by the transaction. SQLite: BEGIN EXCLUSIVE, with foreign keys off
because batch mode rebuilds tables that others reference; they are checked before the commit.
"""

from datetime import UTC, datetime
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from app.db import make_engine
from app.models import Base
from app.services.private import keep_new_files_private
from app.services.storage import Storage, StorageUnusableError
from app.settings import SettingsError, load_settings

# An arbitrary constant shared by all replicas: "video" in ASCII.
ADVISORY_LOCK = 0x766964656F
# How long a statement may wait for a table that the old version is using.
LOCK_TIMEOUT = "10s"


def database_url() -> str:
    """Return the URL given by `app.services.schema.upgrade`, otherwise the one in the settings."""
    url = context.config.attributes.get("database_url")
    if url is not None:
        return str(url)
    keep_new_files_private()
    try:
        settings = load_settings()
        if settings.database_url is None:
            Storage(settings.data_dir).prepare()
    except (SettingsError, StorageUnusableError) as error:
        raise SystemExit(f"alembic: {error}") from None
    return settings.sqlalchemy_url()


def date_revision(_context: object, _revision: object, directives: list[Any]) -> None:
    """Name a new migration after the current minute; `app.services.schema` relies on it."""
    for directive in directives:
        directive.rev_id = datetime.now(UTC).strftime("%Y%m%d_%H%M")


def configure(connection: Connection | None, *, url: str | None = None) -> None:
    """Configure how Alembic compares and alters tables."""
    context.configure(
        connection=connection,
        url=url,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_server_default=True,
        process_revision_directives=date_revision,
        literal_binds=url is not None,
    )


def run_online() -> None:
    """Migrate the database under the lock."""
    engine = make_engine(database_url(), foreign_keys=False, deadline=False)
    connection = engine.connect().execution_options(sqlite_begin="EXCLUSIVE")
    with connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        configure(connection)
        context.run_migrations()
        if connection.dialect.name == "sqlite":
            dangling = connection.execute(text("PRAGMA foreign_key_check")).all()
            if dangling:
                raise RuntimeError(f"the migration left dangling references: {dangling}")
    engine.dispose()


if context.is_offline_mode():
    # `alembic upgrade head --sql`: print the statements for review.
    configure(None, url=database_url())
    with context.begin_transaction():
        context.run_migrations()
else:
    run_online()
