"""What the comparison changes it restores, and what it lacks it names. Figures are not tested."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.benchmarks import compare
from tools.benchmarks.workshop import Workshop
from tools.cli import ToolError

LOCK = """\
# wheel: httptools-0.7-cp311.whl
httptools==0.7 \\
    --hash=sha256:aa

# wheel: idna-3.20-py3-none-any.whl
# via: anyio
idna==3.20 \\
    --hash=sha256:bb
"""


def test_the_lock_gets_another_version_of_one_wheel() -> None:
    changed = compare.with_version(LOCK, "3.9", "cc")
    assert changed == LOCK.replace("3.20", "3.9").replace("bb", "cc")
    with pytest.raises(ToolError, match="the lock of wheels has 0 entries of idna, and one is"):
        compare.with_version("", "3.9", "cc")


def test_the_locked_wheels_have_an_entry_to_change() -> None:
    for name in os.environ["LOCKS"].split():
        compare.with_version(Path(name).read_text(encoding="utf-8"), "3.9", "cc")


def test_files_are_restored_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")

    def fail() -> None:
        with compare.restored(file):
            file.write_text("changed")
            raise ToolError("the build failed")

    with pytest.raises(ToolError):
        fail()
    assert file.read_text() == "before"


def test_a_failed_command_is_shown_with_its_errors(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, tmp_path / "work")
    with pytest.raises(ToolError, match=r"^sh -c echo why >&2; exit 3: exit code 3\nwhy\n$"):
        workshop.run("sh", "-c", "echo why >&2; exit 3")


@pytest.mark.parametrize(("programs", "missing"), [((), "buildah"), (("buildah",), "podman")])
def test_a_missing_engine_is_named_before_anything_is_built(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    programs: tuple[str, ...],
    missing: str,
) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/bazelw").write_text("")
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compare.main(["--rows=start"]) == 1
    assert capsys.readouterr().err == (
        f"compare: {missing} is not on PATH; install it (it runs the Dockerfile's side): "
        f"apt-get install {missing}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows=line,x"], "no row x; there are line, push, nothing, wheel, cold, start, tests"),
        (["--samples=0"], "a number from 1 is needed"),
    ],
)
def test_bad_arguments_are_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        compare.main(arguments)
    assert exit_code.value.code == 2
    assert message in capsys.readouterr().err


def test_outside_of_a_checkout_the_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare.main([]) == 1
    assert capsys.readouterr().err == (
        f"compare: {tmp_path}: start this in the root of the checkout to measure\n"
    )
