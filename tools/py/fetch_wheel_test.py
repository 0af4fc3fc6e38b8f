"""Fetching one wheel by hash: pip for real, from an index that the test wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pip
import pytest

from tools.py import fetch_wheel
from tools.py.fetch_wheel import FetchError, pip_flags
from tools.py.tiny_wheels import TinyWheel, write_index

_PIP = Path(pip.__file__).parent.parent
_FOREIGN = TinyWheel("native", tag="cp311-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64")


@pytest.mark.parametrize(
    ("filename", "flags"),
    [
        ("a-1-py3-none-any.whl", []),
        (
            "a-1-2-cp311-cp311-manylinux_2_17_aarch64.whl",
            [
                "--abi=cp311",
                "--abi=none",
                "--implementation=cp",
                "--platform=manylinux_2_17_aarch64",
                "--python-version=311",
            ],
        ),
        (
            "a-1-cp37-abi3-manylinux_2_28_x86_64.whl",
            ["--abi=abi3", "--abi=none", "--implementation=cp", "--platform=manylinux_2_28_x86_64"],
        ),
    ],
)
def test_pip_is_asked_for_the_tags_in_the_files_name(filename: str, flags: list[str]) -> None:
    assert pip_flags(filename) == flags


def test_a_name_that_is_not_a_wheels_is_refused() -> None:
    with pytest.raises(FetchError, match=r"'a-1\.tar\.gz' is not a wheel's name"):
        pip_flags("a-1.tar.gz")


class _Index:
    def __init__(self, path: Path, wheel: TinyWheel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output = path / "output"
        self._wheel = wheel
        monkeypatch.setenv("PIP_INDEX_URL", write_index([wheel], directory=path))
        self.data = (path / "files" / wheel.filename).read_bytes()

    def fetch(
        self,
        *,
        requirement: str | None = None,
        filename: str | None = None,
        sha256: str | None = None,
    ) -> int:
        return fetch_wheel.main(
            [
                f"--requirement={requirement or f'{self._wheel.name}=={self._wheel.version}'}",
                f"--sha256={sha256 or hashlib.sha256(self.data).hexdigest()}",
                f"--filename={filename or self._wheel.filename}",
                f"--pip={_PIP}",
                f"--output={self.output}",
            ]
        )


@pytest.mark.parametrize("wheel", [TinyWheel("pure"), _FOREIGN])
def test_a_wheel_arrives_whichever_machine_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: TinyWheel
) -> None:
    index = _Index(tmp_path, wheel, monkeypatch)
    assert index.fetch() == 0
    assert (index.output / wheel.filename).read_bytes() == index.data


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
    assert _Index(tmp_path, TinyWheel("pure"), monkeypatch).fetch() == 0


def test_a_wheelhouse_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = _Index(tmp_path, TinyWheel("pure"), monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "files"))
    assert index.fetch() == 0


def test_another_file_under_the_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = _Index(tmp_path, TinyWheel("pure"), monkeypatch)
    assert index.fetch(sha256="0" * 64) == 1
    assert not list(index.output.glob("*"))
    message = capsys.readouterr().err
    assert "pure-1.0-py3-none-any.whl: pip could not fetch it" in message
    assert "PIP_INDEX_URL" in message


def test_a_release_the_index_lost_is_named_with_the_command_that_locks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _Index(tmp_path, TinyWheel("pure"), monkeypatch).fetch(requirement="pure==9") == 1
    assert "run `bazel run //third_party/python:lock`" in capsys.readouterr().err


def test_a_file_of_another_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        _Index(tmp_path, TinyWheel("pure"), monkeypatch).fetch(
            filename="pure-1.0-1-py3-none-any.whl"
        )
        == 1
    )
    assert "the index offers pure-1.0-py3-none-any.whl for its hash" in capsys.readouterr().err
