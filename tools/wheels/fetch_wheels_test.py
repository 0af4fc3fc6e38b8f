"""Fetching wheels by hash: pip for real, from an index that the test wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pip
import pytest

from tools.cli import ToolError
from tools.wheels import fetch_wheels
from tools.wheels.fetch_wheels import pip_flags
from tools.wheels.wheels_for_test import TinyWheel, write_index

_PIP = Path(pip.__file__).parent.parent
_PURE = TinyWheel("pure")
_FOREIGN = TinyWheel("foreign", tag="cp311-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64")


@pytest.mark.parametrize(
    ("filenames", "flags"),
    [
        (["a-1-py3-none-any.whl"], []),
        (
            ["a-1-2-cp311-cp311-manylinux_2_17_aarch64.whl", "b-1-py3-none-any.whl"],
            [
                "--implementation=cp",
                "--abi=cp311",
                "--abi=none",
                "--platform=manylinux_2_17_aarch64",
                "--python-version=311",
            ],
        ),
        (
            ["a-1-cp37-abi3-manylinux_2_28_x86_64.whl", "b-1-py3-none-manylinux2014_x86_64.whl"],
            [
                "--implementation=cp",
                "--abi=abi3",
                "--abi=none",
                "--platform=manylinux2014_x86_64",
                "--platform=manylinux_2_28_x86_64",
            ],
        ),
    ],
)
def test_pip_is_asked_for_the_tags_in_the_files_names(
    filenames: list[str], flags: list[str]
) -> None:
    assert pip_flags(filenames) == flags


def test_a_name_that_is_not_a_wheels_is_refused() -> None:
    with pytest.raises(ToolError, match=r"'a-1\.tar\.gz' is not a wheel's name"):
        pip_flags(["a-1.tar.gz"])


class _Index:
    """An index with some wheels; `fetch` is the command as the repository rules start it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *wheels: TinyWheel) -> None:
        self.output = path / "output"
        self._files = path / "files"
        self._wheels = wheels
        monkeypatch.setenv("PIP_INDEX_URL", write_index(list(wheels), directory=path))

    def fetch(self, *, pin: str = "", filename: str = "", sha256: str = "") -> int:
        flags = []
        for wheel in self._wheels:
            digest = hashlib.sha256((self._files / wheel.filename).read_bytes()).hexdigest()
            words = (
                pin or f"{wheel.name}=={wheel.version}",
                sha256 or digest,
                filename or wheel.filename,
            )
            flags.append(f"--wheel={' '.join(words)}")
        return fetch_wheels.main([*flags, f"--pip={_PIP}", f"--output={self.output}"])

    def arrived(self) -> bool:
        return all(
            (self.output / wheel.filename).read_bytes()
            == (self._files / wheel.filename).read_bytes()
            for wheel in self._wheels
        )


def test_wheels_arrive_whichever_machine_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = _Index(tmp_path, monkeypatch, _PURE, _FOREIGN)
    assert index.fetch() == 0
    assert index.arrived()


def test_constraints_of_the_machine_do_not_stop_a_locked_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints").write_text("pure>=2\n", encoding="utf-8")
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nconstraint = {tmp_path}/constraints\nrequire-virtualenv = yes\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert _Index(tmp_path, monkeypatch, _PURE).fetch() == 0


def test_a_wheelhouse_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = _Index(tmp_path, monkeypatch, _PURE)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "files"))
    assert index.fetch() == 0
    assert index.arrived()


def test_another_file_under_the_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = _Index(tmp_path, monkeypatch, _PURE)
    assert index.fetch(sha256="0" * 64) == 1
    assert not list(index.output.glob("*"))
    message = capsys.readouterr().err
    assert "pure-1.0-py3-none-any.whl could not be fetched. Set PIP_INDEX_URL" in message
    assert "PIP_INDEX_URL" in message


def test_a_release_the_index_lost_is_named_with_the_command_that_locks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _Index(tmp_path, monkeypatch, _PURE).fetch(pin="pure==9") == 1
    assert "lock again with the command in the first lines of the lock" in capsys.readouterr().err


def test_a_file_of_another_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _Index(tmp_path, monkeypatch, _PURE).fetch(filename="pure-1.0-1-py3-none-any.whl") == 1
    message = capsys.readouterr().err
    assert "the index offers pure-1.0-py3-none-any.whl" in message


def test_a_malformed_flag_is_quoted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fetch_wheels.main(["--wheel=pure==1.0", f"--pip={tmp_path}", f"--output={tmp_path}"])
    assert "'pure==1.0' is not 'NAME==VERSION SHA256 FILENAME'" in capsys.readouterr().err
