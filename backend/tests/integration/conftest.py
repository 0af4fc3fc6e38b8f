"""Real servers and real clips, shared by the test session."""

import itertools
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from tests.support import clips, programs, servers

from app.db import Database
from app.services import schema
from app.settings import load_settings

_numbers = itertools.count()


@pytest.fixture(scope="session")
def new_postgres_url() -> Iterator[Callable[[], str]]:
    """Return a function that creates an empty database on a real PostgreSQL server."""
    with servers.postgres() as create:
        yield lambda: create(f"test{next(_numbers)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    create: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return create()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "test.db"
    schema.upgrade(f"sqlite:///{path}")
    # The write-ahead log is not copied.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(new_postgres_url: Callable[[], str]) -> Callable[[], str]:
    """Return a function that creates a migrated database on the PostgreSQL server."""
    template = new_postgres_url()
    schema.upgrade(load_settings({"database_url": SecretStr(template)}).sqlalchemy_url())
    server, name = template.rsplit("/", 1)

    def create() -> str:
        copy = f"copy{next(_numbers)}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"'.encode())
        return f"{server}/{copy}"

    return create


@pytest.fixture(scope="session")
def emptied_postgres() -> list[str]:
    """Return the URLs of migrated databases that tests have used, emptied, to use again."""
    return []


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET lock_timeout = '10s'")  # for transactions of killed clients
        connection.execute(
            "TRUNCATE videos, analyses, events, api_keys, sessions, retention, caption_job,"
            " webhooks, webhook_deliveries, sign_in_attempts"
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a migrated database, of each kind in turn."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "test.db")
        yield f"sqlite:///{tmp_path}/test.db"
        return
    create: Callable[[], str] = request.getfixturevalue("migrated_postgres")
    emptied: list[str] = request.getfixturevalue("emptied_postgres")
    url = emptied.pop() if emptied else create()
    yield url
    _empty(url)
    emptied.append(url)


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """Open a migrated database, of each kind in turn."""
    settings = load_settings({"database_url": SecretStr(migrated_url)})
    database = Database(settings.sqlalchemy_url())
    yield database
    database.close()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """Run a real Redis server."""
    redis = servers.Redis(tmp_path)
    with redis.running():
        yield redis.url


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of cached clips."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clip_dir: Path) -> Path:
    """Return a clip with two seconds of the moving test pattern."""
    return clips.pattern(clip_dir / "pattern.mp4")


def _minute(clip_dir: Path, name: str, *, size: str) -> Path:
    part = clips.pattern(clip_dir / f"part-{name}", seconds=5, size=size, rate="30")
    return clips.repeated(part, clip_dir / name, times=12)


@pytest.fixture(scope="session")
def long_clip(clip_dir: Path) -> Path:
    """Return a clip of a minute; with `slowly`, tests can act while it is analysed."""
    return _minute(clip_dir, "long.mp4", size="160x90")


@pytest.fixture(scope="session")
def heavy_clip(clip_dir: Path) -> Path:
    """Return a clip of a minute that takes seconds to decode as fast as possible."""
    return _minute(clip_dir, "heavy.mp4", size="1280x720")


@pytest.fixture(scope="session")
def slowly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return environment variables that make an analysis of `long_clip` take at least 4 s.

    Its ffmpeg reads at most 15 seconds of video per second, however fast the machine is.
    """
    program = programs.find("ffmpeg", variable="FFMPEG")
    slow = tmp_path_factory.mktemp("slow") / "ffmpeg"
    slow.write_text(f'#!/bin/sh\nexec {shlex.quote(program)} -readrate 15 "$@"\n')
    slow.chmod(0o755)
    return {"FFMPEG": str(slow)}
