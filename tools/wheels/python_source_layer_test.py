"""Sources become a layer: paths, owners, bytecode, and what is refused."""

from __future__ import annotations

import json
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tools.wheels import python_source_layer

if TYPE_CHECKING:
    from pathlib import Path


def _run(
    directory: Path, *, files: dict[str, str], empty_directories: dict[str, str] | None = None
) -> int:
    for name, text in files.items():
        path = directory / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (directory / "lock.json").write_text(json.dumps({"mtime": 1700000000}), encoding="utf-8")
    content = {
        "directory": "/app",
        "empty_directories": empty_directories or {},
        "files": [(f"{directory}/source/{name}", name) for name in files],
    }
    (directory / "content.json").write_text(json.dumps(content), encoding="utf-8")
    return python_source_layer.main(
        [
            f"--content={directory}/content.json",
            f"--lock={directory}/lock.json",
            f"--out={directory}/layer.tar.gz",
            f"--descriptor={directory}/layer.json",
        ]
    )


def _members(directory: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(directory / "layer.tar.gz") as archive:
        return {member.name: member for member in archive}


def test_sources_are_roots_and_read_only_and_have_bytecode(tmp_path: Path) -> None:
    assert _run(tmp_path, files={"main.py": "x = 1\n", "app/templates/a.html": "<p>\n"}) == 0
    members = _members(tmp_path)
    assert set(members) == {
        "app",
        "app/__pycache__",
        f"app/__pycache__/main.{sys.implementation.cache_tag}.pyc",
        "app/app",
        "app/app/templates",
        "app/app/templates/a.html",
        "app/main.py",
    }
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert {member.mode for member in members.values() if member.isfile()} == {0o644}


def test_only_the_named_directories_belong_to_the_program(tmp_path: Path) -> None:
    directories = {"data": "1000:1000:0755", "day=1": "1:2:0700"}
    assert _run(tmp_path, files={"main.py": ""}, empty_directories=directories) == 0
    members = _members(tmp_path)
    data, day = members["app/data"], members["app/day=1"]
    assert (day.isdir(), day.uid, day.gid, day.mode) == (True, 1, 2, 0o700)
    assert (data.isdir(), data.uid, data.gid, data.mode) == (True, 1000, 1000, 0o755)


@pytest.mark.parametrize("name", ["data/day=1/x.json", "@x/y.py", "-x.py", "a b.py", "=.py"])
def test_a_path_may_have_any_character(tmp_path: Path, name: str) -> None:
    assert _run(tmp_path, files={name: ""}) == 0
    assert f"app/{name}" in _members(tmp_path)


@pytest.mark.parametrize("text", ["appuser:0755", "1:2:755", "1:2:0755:3", ""])
def test_a_malformed_owner_is_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert _run(tmp_path, files={"main.py": ""}, empty_directories={"data": text}) == 1
    assert f"empty directory 'data': {text!r} is not UID:GID:MODE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("broken.py", "def f(:\n", "/app/broken.py does not compile"), ("../main.py", "", "no '..'")],
)
def test_what_cannot_be_in_a_layer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    assert _run(tmp_path, files={name: text}) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "layer.tar.gz").exists()
