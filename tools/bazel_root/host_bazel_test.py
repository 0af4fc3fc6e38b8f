"""Tests of tools/bazel_root/host_bazel.py with programs that claim to be a Bazel."""

import os
from pathlib import Path

import pytest

from tools.bazel_root.host_bazel import find_host_bazel
from tools.cli import ToolError


class Machine:
    """A PATH of one directory, a cache, a workspace, and how often a program was asked."""

    def __init__(self, directory: Path) -> None:
        self.bin, self.cache, self.workspace = (directory / n for n in ("bin", "cache", "ws"))
        self.asked = directory / "asked"
        for path in (self.bin, self.workspace):
            path.mkdir()
        self.environ = {"PATH": str(self.bin)}

    def program(self, name: str, answer: str, code: int = 0) -> str:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\necho asked >> {self.asked}\necho '{answer}'\nexit {code}\n")
        path.chmod(0o755)
        return str(path)

    def find(self, **environ: str) -> "str | None":
        return find_host_bazel(
            {**self.environ, **environ}, cache=self.cache, workspace=self.workspace
        )

    def times_asked(self) -> int:
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("version", ["7.0.0", "7.7.1", "8.4.2", "8.0.0-pre.1"])
def test_bazel_7_and_8_are_used(machine: Machine, version: str) -> None:
    assert machine.find() is None
    assert machine.program("bazel", f"bazel {version}") == machine.find()


@pytest.mark.parametrize(
    "answer", ["bazel 4.2.3", "bazel 6.5.0", "bazel 9.0.0", "bazel no_version"]
)
def test_other_versions_are_not(machine: Machine, answer: str) -> None:
    machine.program("bazel", answer)
    assert machine.find() is None


def test_a_program_that_fails_is_not_used(machine: Machine) -> None:
    machine.program("bazel", "bazel 7.7.1", code=1)
    assert machine.find() is None


def test_bazelisk_is_used_where_bazel_is_too_old(machine: Machine) -> None:
    machine.program("bazel", "bazel 4.2.3")
    bazelisk = machine.program("bazelisk", "Bazelisk version: v1.25.0\nbazel 7.7.1")
    assert machine.find() == bazelisk


def test_the_answer_is_remembered_until_something_changes(machine: Machine) -> None:
    machine.program("bazel", "bazel 7.7.1")
    for _ in range(3):
        assert machine.find() is not None
    assert machine.times_asked() == 1
    machine.find(USE_BAZEL_VERSION="8.0.0")
    assert machine.times_asked() == 2
    (machine.workspace / ".bazelversion").write_text("8.1.0\n")
    machine.find()
    assert machine.times_asked() == 3
    path = machine.program("bazel", "bazel 6.0.0")
    os.utime(path, (1, 1))
    assert machine.find() is None


def test_a_failure_is_remembered_for_an_hour(machine: Machine) -> None:
    machine.program("bazel", "no network", code=1)
    machine.find()
    machine.find()
    assert machine.times_asked() == 1
    for note in (machine.cache / "probes").iterdir():
        os.utime(note, (0, 0))
    machine.find()
    assert machine.times_asked() == 2


def test_a_cache_that_cannot_be_written_only_costs_time(machine: Machine) -> None:
    machine.program("bazel", "bazel 7.7.1")
    machine.cache.write_text("a file where the directory should be")
    assert machine.find() is not None


def test_a_link_to_bazelw_itself_is_not_a_bazel(machine: Machine) -> None:
    machine.program("bazelw", "bazel 7.7.1")
    (machine.bin / "bazel").symlink_to("bazelw")
    assert machine.find() is None
    assert machine.times_asked() == 0


def test_the_variable_decides_without_asking(machine: Machine) -> None:
    machine.program("bazel", "bazel 7.7.1")
    old = machine.program("old-bazel", "bazel 5.0.0")
    assert machine.find(BAZELW_BAZEL="private") is None
    assert machine.find(BAZELW_BAZEL="old-bazel") == old
    assert machine.find(BAZELW_BAZEL=old) == old
    assert machine.times_asked() == 0


def test_a_variable_that_names_no_program_is_an_error(machine: Machine) -> None:
    (machine.bin / "data").write_text("not executable")
    for name in ("data", "/nowhere/bazel", "missing"):
        with pytest.raises(ToolError, match=f"BAZELW_BAZEL: '{name}' is not an executable"):
            machine.find(BAZELW_BAZEL=name)
