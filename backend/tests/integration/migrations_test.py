"""Migrations up, down and compared with the models, on both databases, and several starters."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from tests.support.servers import BACKEND

from app import schema
from app.db import make_engine
from app.models import Base
from app.settings import load_settings


@pytest.fixture
def url(database_url: str) -> str:
    return load_settings({"database_url": SecretStr(database_url)}).sqlalchemy_url()


def config(url: str) -> Config:
    made = Config(attributes={"database_url": url})
    made.set_main_option("script_location", str(schema.ROOT / "migrations"))
    return made


def tables(url: str) -> set[str]:
    engine = make_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_up_down_and_up_again(url: str) -> None:
    schema.upgrade(url)
    assert tables(url) == {"alembic_version", *Base.metadata.tables}
    command.downgrade(config(url), "base")
    assert tables(url) == {"alembic_version"}
    schema.upgrade(url)
    schema.upgrade(url)
    assert tables(url) == {"alembic_version", *Base.metadata.tables}


def test_the_migrated_schema_is_what_the_models_say(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        names = {
            constraint["name"]
            for table in Base.metadata.tables
            for constraint in inspect(connection).get_check_constraints(table)
        }
    engine.dispose()
    # Alembic does not compare check constraints, so their names are.
    assert names == {"ck_videos_size_positive", "ck_analyses_status_known", "ck_events_order"}


def test_several_replicas_that_start_at_once_migrate_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _upgrade_in_process(url), range(4)))
    engine = make_engine(url)
    with engine.connect() as connection:
        assert not schema.migration_state(connection).pending
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    engine.dispose()


def _upgrade_in_process(url: str) -> None:
    # Alembic keeps its context in module globals, so replicas are processes here as in life.
    program = "import sys; from app import schema; schema.upgrade(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", program, url], cwd=BACKEND, check=True, capture_output=True
    )


def test_the_constraints_are_enforced(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    bad = (
        "INSERT INTO videos (id, filename, size, sha256, container, created_at) "
        "VALUES ('00000000000000000000000000000001', 'a', 0, 'x', 'mov', '2026-01-01')"
    )
    orphan = (
        "INSERT INTO analyses (id, video_id, status, attempts, requested_at) VALUES "
        "('00000000000000000000000000000001', '00000000000000000000000000000002', 'queued', 0, "
        "'2026-01-01')"
    )
    for statement in (bad, orphan):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()
