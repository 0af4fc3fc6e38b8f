"""A real registry for the tests of a file; no credentials, keys or passwords of the user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.registry.registry_for_test import Server, forget_the_user, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_user(monkeypatch, tmp_path)
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
