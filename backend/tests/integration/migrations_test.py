"""Migrations on both databases: up, down, concurrent, and compared with the models."""

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import (
    JSON,
    MetaData,
    Table,
    Uuid,
    bindparam,
    column,
    insert,
    inspect,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from tests.support.servers import BACKEND

from app.db import make_engine
from app.models import Analysis, AnalysisStatus, Base, Video
from app.services import parameters as stored_parameters
from app.services import schema
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


def describe(url: str) -> dict[str, Any]:
    """Return a normalised description of all tables of a database."""
    engine = make_engine(url)
    with engine.connect() as connection:
        found = inspect(connection)
        tables = {
            table: {
                "columns": {
                    column["name"]: (str(column["type"]), column["nullable"], column["default"])
                    for column in found.get_columns(table)
                },
                "indexes": sorted(map(repr, found.get_indexes(table))),
                "unique": sorted(map(repr, found.get_unique_constraints(table))),
                "checks": sorted(map(repr, found.get_check_constraints(table))),
                "foreign": sorted(map(repr, found.get_foreign_keys(table))),
                "primary": repr(found.get_pk_constraint(table)),
            }
            for table in found.get_table_names()
        }
        tables["revision"] = {"is": connection.scalar(text("SELECT * FROM alembic_version"))}
    engine.dispose()
    return tables


def test_new_sqlite_database_equals_a_migrated_one(tmp_path: Path) -> None:
    created, migrated = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    schema.upgrade(created)
    command.upgrade(config(migrated), "head")
    assert describe(created) == describe(migrated)


def test_rows_survive_upgrade_and_downgrade(url: str) -> None:
    first = "20261122_0100"
    command.upgrade(config(url), first)
    engine = make_engine(url)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    video, analysis = uuid.uuid4(), uuid.uuid4()
    old_rows: dict[str, dict[str, Any]] = {
        "videos": {"id": video, "filename": "a", "size": 1, "sha256": "x", "container": "mov",
                   "created_at": now},
        "analyses": {"id": analysis, "video_id": video, "status": "done", "attempts": 1,
                     "requested_at": now, "result": {"codec": "h264"}},
    }  # fmt: skip

    def write(number: int) -> None:
        # As the old version writes, before and after the new one has migrated.
        with engine.begin() as connection:
            for table, row in old_rows.items():
                reflected = Table(table, MetaData(), autoload_with=connection)
                ids: dict[str, Any] = {"id": uuid.UUID(int=row["id"].int + number)}
                ids |= {"sha256": f"x{number}"} if table == "videos" else {}
                kinds = dict(Base.metadata.tables[table].c.items())
                statement = reflected.insert().values(
                    {name: bindparam(None, value, type_=kinds[name].type)
                     for name, value in (row | ids).items()}
                )  # fmt: skip
                connection.execute(statement)

    write(0)
    command.upgrade(config(url), "head")
    write(1)
    with engine.begin() as connection:
        rows = connection.execute(select(Analysis.status, Analysis.revision, Analysis.video_id))
        assert [tuple(row) for row in rows] == [(AnalysisStatus.DONE, 0, video)] * 2
        connection.execute(
            update(Analysis).where(Analysis.id == analysis).values(status="cancelled")
        )
    command.downgrade(config(url), first)
    with engine.begin() as connection:
        found = connection.execute(text("SELECT status, reason FROM analyses ORDER BY status"))
        assert [tuple(row) for row in found] == [("done", None), ("failed", "cancelled")]
        assert connection.scalar(text("SELECT count(*) FROM videos")) == 2
    engine.dispose()


def test_zones_become_the_rectangle_that_the_previous_version_knows(url: str) -> None:
    before = "20261125_0500"
    area = {"x": 0.0, "y": 0.5, "width": 0.5, "height": 0.5}
    triangle = {"points": [[0, 0], [1, 0], [0, 1]]}
    common = {"sensitivity": 0.5, "minimum_duration": "1/2", "frame_rate": "5"}
    schema.upgrade(url)
    engine = make_engine(url)
    video = uuid.uuid4()
    with engine.begin() as connection:
        connection.execute(
            insert(Video).values(id=video, filename="a", size=1, sha256="x", container="mov")
        )
        for zones in ([], [area], [triangle], [triangle, area]):
            stored = common | {"zones": zones, "masks": [triangle]}
            connection.execute(insert(Analysis).values(video_id=video, parameters=stored))
    command.downgrade(config(url), before)
    old = table("analyses", column("id", Uuid()), column("parameters", JSON()))
    with engine.begin() as connection:
        rows = connection.execute(select(old).order_by(old.c.id)).all()
        regions = [None, area, None, area]
        assert [row.parameters for row in rows] == [common | {"region": each} for each in regions]
    schema.upgrade(url)
    with engine.begin() as connection:
        found = connection.scalars(select(Analysis.parameters).order_by(Analysis.id)).all()
    known = [stored_parameters.from_json(parameters) for parameters in found]
    assert [len(each.zones) for each in known] == [0, 1, 0, 1]
    assert stored_parameters.to_json(known[1])["zones"] == [area]
    engine.dispose()


def test_older_version_works_with_a_newer_schema(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '20991231_2359'"))
        assert not schema.migration_state(connection).pending
    engine.dispose()


def test_upgrade_downgrade_and_upgrade_again(url: str) -> None:
    schema.upgrade(url)
    assert tables(url) == {"alembic_version", *Base.metadata.tables}
    command.downgrade(config(url), "base")
    assert tables(url) == {"alembic_version"}
    schema.upgrade(url)
    schema.upgrade(url)
    assert tables(url) == {"alembic_version", *Base.metadata.tables}


def test_migrated_schema_matches_the_models(url: str) -> None:
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
    # Alembic does not compare check constraints, so compare their names.
    assert names == {"ck_videos_size_positive", "ck_analyses_status_known", "ck_events_order"}


def test_concurrently_starting_replicas_migrate_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _upgrade_in_process(url), range(4)))
    engine = make_engine(url)
    with engine.connect() as connection:
        assert not schema.migration_state(connection).pending
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    engine.dispose()


def _upgrade_in_process(url: str) -> None:
    # Alembic keeps its context in module globals, so run replicas as separate processes.
    program = "import sys; from app.services import schema; schema.upgrade(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", program, url], cwd=BACKEND, check=True, capture_output=True
    )


def test_constraints_are_enforced(url: str) -> None:
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
