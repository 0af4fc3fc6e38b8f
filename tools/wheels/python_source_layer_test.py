"""Sources become a layer: paths, owners, bytecode, and what is refused."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tools.wheels import python_source_layer

if TYPE_CHECKING:
    from pathlib import Path


def _run(directory: Path, *flags: str, files: dict[str, str]) -> int:
    for name, text in files.items():
        path = directory / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (directory / "lock.json").write_text(json.dumps({"mtime": 1700000000}), encoding="utf-8")
    return python_source_layer.main(
        [
            *(f"--file={directory}/source/{name}={name}" for name in files),
            "--directory=/app",
            *flags,
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
        "app/__pycache__/main.cpython-311.pyc",
        "app/app",
        "app/app/templates",
        "app/app/templates/a.html",
        "app/main.py",
    }
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert {member.mode for member in members.values() if member.isfile()} == {0o644}


def test_only_the_named_directories_belong_to_the_program(tmp_path: Path) -> None:
    assert _run(tmp_path, "--empty-directory=data=1000:1000:0755", files={"main.py": ""}) == 0
    data = _members(tmp_path)["app/data"]
    assert (data.isdir(), data.uid, data.gid, data.mode) == (True, 1000, 1000, 0o755)


@pytest.mark.parametrize("flag", ["--empty-directory=data=appuser:0755", "--file=main.py"])
def test_a_malformed_flag_is_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    with pytest.raises(SystemExit):
        _run(tmp_path, flag, files={"main.py": ""})
    assert repr(flag.partition("=")[2]) in capsys.readouterr().err


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
