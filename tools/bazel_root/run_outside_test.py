"""A program that `bazelw run` starts is started on the host, with its arguments and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bazel_root.run_outside import script_wanted, with_script

REPOSITORY = Path(__file__).resolve().parents[2]

# In place of Bazel: writes the script that it is asked for, or fails.
PROGRAM = """
import os, sys
from pathlib import Path
from tools.bazel_root.run_outside import run_outside
def become_bazel(argv):
    if argv == ["run", "//x"]:
        os.execv("/bin/sh", ["sh", "-c", "echo inside"])
    script = argv[1].partition("=")[2]
    Path(script).write_text(sys.argv[2])
    os.execv("/bin/sh", ["sh", "-c", sys.argv[3]])
sys.exit(run_outside(["run", "//x"], scratch=Path(sys.argv[1]), become_bazel=become_bazel))
"""


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["run", "//x"], True),
        (["--nohome_rc", "run", "-c", "opt", "//x", "--", "--script_path=mine"], True),
        (["run", "--script_path=mine", "//x"], False),
        (["run", "--script_path", "mine", "//x"], False),
        (["run", "--help"], False),
        (["build", "run"], False),
        (["help", "run"], False),
        ([], False),
    ],
)
def test_only_run_without_a_script_of_its_own_is_taken(argv: list[str], wanted: bool) -> None:
    assert script_wanted(argv) is wanted


def test_the_option_comes_right_after_the_command() -> None:
    assert with_script(["--batch", "run", "//x", "--", "run"], Path("/s")) == [
        "--batch", "run", "--script_path=/s", "//x", "--", "run",
    ]  # fmt: skip


def run(directory: Path, script: str, bazel: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory), script, bazel],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_script_runs_after_bazel_and_its_exit_code_is_passed_on(tmp_path: Path) -> None:
    result = run(tmp_path, "#!/bin/bash\necho program; exit 7", "echo bazel")
    assert (result.stdout, result.returncode) == ("bazel\nprogram\n", 7), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_runs_when_bazel_fails(tmp_path: Path) -> None:
    result = run(tmp_path, "echo program", "exit 3")
    assert (result.stdout, result.returncode) == ("", 3)


def test_a_bazel_that_a_signal_ended_is_told_as_a_shell_does(tmp_path: Path) -> None:
    assert run(tmp_path, "echo program", "kill -TERM $$").returncode == 128 + 15


def test_a_test_runs_inside_by_bazels_own_runner(tmp_path: Path) -> None:
    script = "exec env external/bazel_tools/tools/test/test-setup.sh tools/x_test"
    result = run(tmp_path, script, "echo bazel")
    assert (result.stdout, result.returncode) == ("bazel\ninside\n", 0), result.stderr
