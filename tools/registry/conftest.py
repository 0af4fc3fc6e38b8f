"""A real registry for the tests of a file, and clients that ignore the user's environment."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.registry import cli
from tools.registry.registry_for_test import Server, forget_the_user, running
from tools.registry.transport import Options


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that requires a password."""
    with running(tmp_path_factory.mktemp("basic"), basic=True) as found:
        yield found


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_user(monkeypatch, tmp_path)


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the client waits on its own account; what a registry asks for is waited for."""
    monkeypatch.setattr(cli, "Options", functools.partial(Options, first_delay=0.05))
