"""The small service's images, and a real registry, for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.registry.registry_for_test import Server, running
from tools.verify.service_for_test import Images, build


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return build(tmp_path_factory.mktemp("checkout") / "out")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found
