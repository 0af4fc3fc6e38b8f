"""A file is replaced as a whole or not at all, and nothing else is left behind."""

import os
from pathlib import Path

import pytest

from tools.archive.atomic import replace_files, replacing


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    return path


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_the_new_file_appears_when_the_block_ends(old: Path) -> None:
    umask = os.umask(0o077)
    try:
        with replacing(old) as stream:
            stream.write(b"new")
            stream.flush()
            assert old.read_bytes() == b"old"
    finally:
        os.umask(umask)
    assert (old.read_bytes(), old.stat().st_mode & 0o777) == (b"new", 0o644)
    assert names(old.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_block_leaves_the_old_file_alone(
    old: Path, error: type[BaseException]
) -> None:
    def interrupted() -> None:
        with replacing(old) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_the_new_file_can_be_made_in_another_directory(old: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    with replacing(old, directory=tmp_path / "scratch") as stream:
        stream.write(b"new")
        assert len(names(tmp_path / "scratch")) == 1
    assert old.read_bytes() == b"new"
    assert names(tmp_path / "scratch") == []


def test_several_files_are_replaced_together(old: Path) -> None:
    other = old.with_name("other")
    replace_files({old: b"1", other: b"2"})
    assert (old.read_bytes(), other.read_bytes()) == (b"1", b"2")
    assert other.stat().st_mode & 0o777 == 0o644
    assert names(old.parent) == ["file", "other"]


def test_no_file_is_replaced_when_one_cannot_be_written(old: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_files({old: b"1", tmp_path / "missing" / "other": b"2"})
    assert old.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_cannot_be_replaced_leaves_nothing_behind(old: Path, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_files({tmp_path / "directory": b"1", old: b"2"})
    assert old.read_bytes() == b"old"
    assert names(tmp_path) == ["directory", "file"]
