"""Real servers and real clips, shared by a whole test session."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import clips, servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def new_postgres_url() -> Iterator[Callable[[], str]]:
    """Make an empty database on a real PostgreSQL server, per call."""
    with servers.postgres() as create:
        yield lambda: create(f"test{next(_numbers)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    create: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return create()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """Run a real Redis server."""
    with servers.redis(tmp_path) as (url, _process):
        yield url


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that clips are kept in."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clip_dir: Path) -> Path:
    """Return two seconds of the moving test pattern."""
    return clips.pattern(clip_dir / "pattern.mp4")


@pytest.fixture(scope="session")
def long_clip(clip_dir: Path) -> Path:
    """Return a clip that takes seconds to analyse, so that something can happen meanwhile."""
    part = clips.pattern(clip_dir / "part.mp4", seconds=5, size="1280x720", rate="30")
    return clips.repeated(part, clip_dir / "long.mp4", times=12)
