"""Each reader with the inputs of one seed; and the harness with readers that misbehave."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tools.cli import ToolError
from tools.fuzz import fuzz, harness
from tools.fuzz.harness import Reader, attempt
from tools.fuzz.mutation import damaged
from tools.fuzz.readers import READERS

# All readers together are to take 12 s of CPU; those that start more than they read get fewer.
_INPUTS = 40
_FEWER = {
    "deb": 30,
    "image_archive": 25,
    "layers": 20,
    "licence": 15,
    "registry": 4,
    "structure_test": 15,
    "tar": 25,
    "wheel_sbom": 20,
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_input_is_read_or_refused_and_nothing_else_happens(
    name: str, tmp_path: Path
) -> None:
    count = _FEWER.get(name, _INPUTS)
    found = fuzz.run(READERS[name], seed=None, count=count, scratch=tmp_path)
    assert found.tried >= count // 2
    assert found.accepted > 0


def _reader(read: Callable[[bytes, Path], object], names: str = "") -> Reader:
    return Reader("example", damaged(b"abc"), read, names=names)


def _refuse(message: str) -> Callable[[bytes, Path], object]:
    def read(_: bytes, _directory: Path) -> None:
        raise ToolError(message)

    return read


def _endless(_: bytes, _directory: Path) -> None:
    while True:
        pass


def _huge(_: bytes, _directory: Path) -> None:
    bytes(1 << 40)


def _beside(_: bytes, directory: Path) -> None:
    (directory.parent / "new").write_bytes(b"x")


def _outside(_: bytes, directory: Path) -> None:
    (directory.parent / "outside" / "file").write_bytes(b"x")


def _linked(_: bytes, directory: Path) -> None:
    os.link(directory.parent / "outside" / "file", directory / "link")


def _wrong(_: bytes, _directory: Path) -> None:
    raise KeyError("a defect")


def test_input_is_accepted_or_refused(tmp_path: Path) -> None:
    assert attempt(_reader(lambda _content, _directory: None), b"", scratch=tmp_path)
    assert not attempt(_reader(_refuse("x.deb: bad"), "x.deb"), b"", scratch=tmp_path)


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (_reader(_refuse(" ")), "example: refused without a reason"),
        (_reader(_refuse("bad"), "x.deb"), "example: the error does not name the file: bad"),
        (_reader(_endless), "example: took more than 0.2 s of CPU time"),
        (_reader(_huge), "example: took more than .* bytes"),
        (_reader(_beside), "example: wrote beside"),
        (_reader(_outside), "example: changed a file outside"),
        (_reader(_linked), "example: linked to a file outside"),
    ],
)
def test_a_reader_that_misbehaves_is_found(
    reader: Reader, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "CPU_SECONDS", 0.2)
    with pytest.raises(AssertionError, match=message):
        attempt(reader, b"", scratch=tmp_path)


def test_an_error_that_is_not_documented_is_found(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="a defect"):
        attempt(_reader(_wrong), b"", scratch=tmp_path)


def _rejects_x(content: bytes, _directory: Path) -> None:
    if b"x" in content:
        raise KeyError("x")


def test_a_failure_is_shown_with_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "READERS", {"example": Reader("example", st.just(b"x"), _rejects_x)})
    assert fuzz.main(["--seed", "7", "--count", "5"]) == 1
    output = capsys.readouterr().out
    assert "KeyError: 'x'" in output
    assert "bazel run //tools/fuzz -- --reader example --seed 7 --count 5" in output
    assert "example: 1 inputs, 0 accepted, 1 failed" in output


def test_an_unknown_reader_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--reader", "zoo"]) == 2
    assert "'zoo' is not a reader; there are archive" not in capsys.readouterr().out
