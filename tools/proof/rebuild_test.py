"""A rebuild finds what depends on its surroundings, and refuses to pass on nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.proof.rebuild import read_steps, rebuild

_PROGRAM = """
import os, pathlib, sys, time
time.tzset()
out = pathlib.Path(sys.argv[2])
out.write_text({expression})
"""


def _build(tmp_path: Path, expression: str, program: str = "tools/tool") -> Path:
    """Write a tool, the output that Bazel would have built with it, and the steps."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tool.py").write_text(_PROGRAM.format(expression=expression))
    (tmp_path / "in.txt").write_text("input")
    (tmp_path / "out.txt").write_text("input")
    step = {
        "argv": [f"bazel-out/exec/bin/{program}", "in.txt", "bazel-out/k8/bin/out.txt"],
        "mnemonic": "Tool",
        "outputs": [
            {"directory": False, "path": "bazel-out/k8/bin/out.txt", "short_path": "out.txt"}
        ],
    }
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps({"files": {"in.txt": "in.txt"}, "steps": [step]}))
    return steps


def _rebuild(tmp_path: Path, expression: str) -> list[str]:
    steps = read_steps(_build(tmp_path, expression))
    (tmp_path / "second").mkdir()
    return rebuild(steps, runfiles=tmp_path, root=tmp_path / "second")


def test_a_tool_that_only_reads_its_input_is_reproducible(tmp_path: Path) -> None:
    assert _rebuild(tmp_path, "pathlib.Path(sys.argv[1]).read_text()") == []


@pytest.mark.parametrize(
    "expression",
    [
        "'input' if os.umask(0) == 0o022 else 'umask'",
        "'input' if time.tzname[0] == 'UTC' else 'zone'",
        "'input' if os.environ.get('USER') == 'root' else 'user'",
        "'input' if os.getuid() == 0 else 'uid'",
        "'input' if os.uname().nodename != 'elsewhere' else 'host'",
        "'input' if hash('x') == 0 else 'seed'",
        "'input' if len(os.sched_getaffinity(0)) > 1 else 'jobs'",
        "os.getcwd()",
    ],
)
def test_a_tool_that_sees_its_surroundings_is_found(tmp_path: Path, expression: str) -> None:
    (difference,) = _rebuild(tmp_path, expression)
    assert difference.startswith("out.txt: the bytes differ")


def test_a_tool_of_another_repository_is_found_beside_our_own(tmp_path: Path) -> None:
    steps = _build(tmp_path, "pathlib.Path(sys.argv[1]).read_text()", "external/ours/tool")
    (tmp_path / "tools").rename(tmp_path / "ours")
    runfiles = tmp_path / "main"
    runfiles.mkdir()
    for name in ("in.txt", "out.txt"):
        (tmp_path / name).rename(runfiles / name)
    (tmp_path / "second").mkdir()
    assert rebuild(read_steps(steps), runfiles=runfiles, root=tmp_path / "second") == []


def test_a_failing_command_is_an_error_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"(?s)Tool .* ended with 1:.*ZeroDivisionError"):
        _rebuild(tmp_path, "str(1 / 0)")


def test_an_unknown_program_is_an_error_that_says_what_to_add(tmp_path: Path) -> None:
    steps = _build(tmp_path, "''")
    (tmp_path / "tools" / "tool.py").unlink()
    (tmp_path / "second").mkdir()
    with pytest.raises(ToolError, match="add the program to the deps"):
        rebuild(read_steps(steps), runfiles=tmp_path, root=tmp_path / "second")


def test_no_commands_are_refused(tmp_path: Path) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps({"files": {}, "steps": []}))
    with pytest.raises(ToolError, match="no commands in it"):
        read_steps(steps)
