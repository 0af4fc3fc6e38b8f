"""Schema revisions, and Alembic's command line on SQLite."""

import subprocess
import sys
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from tests.support.servers import BACKEND, service_environment

from app.db import make_engine
from app.services import schema


def test_newest_migration_file_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.ROOT / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [schema.head_revision()]


def test_migration_file_names_start_with_their_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.ROOT / "migrations"))
    for script in ScriptDirectory.from_config(config).walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")


def alembic(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=BACKEND,
        env=service_environment(data_dir),
        capture_output=True,
        text=True,
        check=False,
    )


def test_alembic_command_migrates_an_empty_data_directory(tmp_path: Path) -> None:
    finished = alembic(tmp_path / "new", "upgrade", "head")
    assert finished.returncode == 0, finished.stderr
    engine = make_engine(f"sqlite:///{tmp_path}/new/backend.db")
    with engine.connect() as connection:
        assert not schema.migration_state(connection).pending


def test_alembic_command_prints_sql_without_touching_the_database(tmp_path: Path) -> None:
    finished = alembic(tmp_path, "upgrade", "head", "--sql")
    assert finished.returncode == 0, finished.stderr
    assert "CREATE TABLE videos" in finished.stdout


def test_alembic_command_names_an_invalid_setting(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=BACKEND,
        env=service_environment(tmp_path, DATABASE_URL="oracle://host"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("alembic: DATABASE_URL: invalid value")
    assert "Traceback" not in finished.stderr


def test_empty_database_has_pending_migrations(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/test.db")
    with engine.connect() as connection:
        state = schema.migration_state(connection)
    assert (state.current, state.pending) == (None, True)
