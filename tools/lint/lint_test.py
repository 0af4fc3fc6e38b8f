"""Every Python file of the repository passes ruff and mypy --strict.

Bazel puts the sources, and the linters at their locked versions, into the runfiles.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_CONFIG = Path("tools/lint").resolve()
_SOURCES = Path("../lint_sources").resolve()
_RUFF = Path("../pinned_image_pypi_ruff/bin/ruff").resolve()

# What is checked together, since it shares an import root.
_IMPORT_ROOTS = {"tools": ("tools", "third_party"), "backend": ("backend",)}


def _files(*directories: str) -> list[str]:
    found = [
        str(path.relative_to(_SOURCES))
        for directory in directories
        for path in sorted(_SOURCES.joinpath(directory).rglob("*"))
        if path.suffix == ".py"
    ]
    assert found, directories
    return found


def _run(*command: str, path: list[str] | None = None) -> None:
    environment = {
        "MYPYPATH": os.pathsep.join(path or []),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.defpath,
    }
    done = subprocess.run(
        command,
        cwd=_SOURCES,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout, pytrace=False)


def _ruff(*arguments: str) -> None:
    files = [*_files("tools", "backend", "third_party"), "tools/bazelw"]
    _run(str(_RUFF), *arguments, f"--config={_CONFIG}/ruff.toml", "--no-cache", *files)


def test_no_file_breaks_a_rule() -> None:
    _ruff("check", "--output-format=concise")


def test_every_file_is_formatted() -> None:
    _ruff("format", "--check")


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both runs need of the libraries is read once."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("root", _IMPORT_ROOTS)
def test_types_are_strict_and_agree(root: str, mypy_cache: Path) -> None:
    directories = _IMPORT_ROOTS[root]
    roots = [str(_SOURCES / "backend")] if root == "backend" else []
    _run(
        sys.executable,
        "-m",
        "mypy",
        f"--config-file={_CONFIG}/mypy.ini",
        f"--cache-dir={mypy_cache}",
        *_files(*directories),
        path=[*roots, str(_SOURCES)],
    )
