"""The release archive: its layout, its modes, and that only its content decides its bytes."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.service.release import main, path_in_release

_MODULE = 'module(name = "pinned_image", version = "{version}")\n'


def _release(directory: Path, *, umask: int = 0o022) -> Path:
    sources = directory / "release_sources" / "tools"
    sources.mkdir(parents=True)
    before = os.umask(umask)
    try:
        (sources / "cli.py.src").write_text("X = 1\n")
        (sources / "bazelw.src").write_text("#!/bin/sh\n")
    finally:
        os.umask(before)
    (sources / "bazelw.src").chmod(0o700)
    (directory / "template").write_text(_MODULE)
    out = directory / "out.tar.gz"
    code = main(
        [
            "--version=1.2.3",
            f"--module={directory / 'template'}",
            f"--out={out}",
            f"--descriptor={directory / 'out.json'}",
            f"--snippet={directory / 'out.txt'}",
            *(f"--source={path}" for path in sorted(sources.iterdir(), reverse=True)),
        ]
    )
    assert code == 0
    return out


def test_files_lie_below_one_directory_with_the_module_file(tmp_path: Path) -> None:
    with tarfile.open(_release(tmp_path)) as archive:
        modes = {member.name: member.mode for member in archive if member.isfile()}
        module = archive.extractfile("pinned_image-1.2.3/MODULE.bazel")
        assert module is not None
        assert module.read().decode() == _MODULE.replace("{version}", "1.2.3")
    assert modes == {
        "pinned_image-1.2.3/MODULE.bazel": 0o644,
        "pinned_image-1.2.3/tools/bazelw": 0o755,
        "pinned_image-1.2.3/tools/cli.py": 0o644,
    }


def test_time_umask_and_order_change_no_byte(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = _release(tmp_path / "one").read_bytes()
    assert one == _release(tmp_path / "two", umask=0o077).read_bytes()


def test_the_snippet_has_the_archives_hash(tmp_path: Path) -> None:
    out = _release(tmp_path)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert f'sha256 = "{digest}"' in (tmp_path / "out.txt").read_text()


def test_a_foreign_file_is_an_error() -> None:
    with pytest.raises(ToolError, match="not a file of the repository release_sources"):
        path_in_release(Path("/etc/passwd.src"))
