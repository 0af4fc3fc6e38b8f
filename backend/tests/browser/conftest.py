"""One service and one browser for all tests of the web page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import clips, servers
from tests.support.browser import Browser, chromium


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the service's data directory."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def service(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the service with its embedded worker; yield its URL."""
    log = tmp_path_factory.mktemp("log") / "api.log"
    with servers.api(data_dir, log=log, variables={"MAX_UPLOAD_BYTES": "3MiB"}) as (url, _process):
        yield url


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run the browser."""
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(tab: Browser) -> Browser:
    """Return the browser reset to desktop size, light theme and an empty log."""
    tab.resize((1280, 900))
    tab.theme("light")
    tab.console()
    return tab


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of cached clips."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def yard(clip_dir: Path) -> Path:
    """Return a clip with two motion events."""
    return clips.yard(clip_dir / "yard.mp4")
