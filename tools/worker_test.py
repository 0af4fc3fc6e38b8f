"""Workers: many requests in one process, each as if it had a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.worker_for_test import Worker

# A tool with every bad habit.
_TOOL = """
import os, sys
from tools.cli import ToolError, tool
from tools.worker import run

@tool("example")
def main(argv):
    for argument in argv:
        if argument == "fail":
            raise ToolError("it failed")
        if argument == "break":
            raise RuntimeError("a fault")
        if argument == "leave":
            sys.exit("left")
        if argument == "usage":
            sys.exit(2)
        if argument == "pipe":
            raise BrokenPipeError
        if argument == "read":
            print(repr(sys.stdin.readline()))
            continue
        print("said", argument, flush=True)
        print("warned", argument, file=sys.stderr)
        os.write(1, b"from a program\\xff\\n")
        os.system("echo and from a shell >&2")

if __name__ == "__main__":
    sys.exit(run(main))
"""
_SAID = "said {0}\nwarned {0}\nfrom a program\ufffd\nand from a shell\n"


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    path = tmp_path / "example.py"
    path.write_text(_TOOL)
    return path


@pytest.fixture
def worker(tool: Path) -> Iterator[Worker]:
    started = Worker(tool)
    yield started
    started.process.kill()
    started.process.wait()


def _plain(tool: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(tool), *arguments],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "arguments",
    [["a"], ["a", "b"], [], ["fail"], ["a", "fail"], ["leave"], ["usage"], ["pipe"], ["read"]],
)
def test_a_request_ends_as_a_process_of_its_own_would(
    tool: Path, worker: Worker, arguments: list[str]
) -> None:
    code, output = _plain(tool, *arguments)
    worker.ask("b")
    assert worker.ask(*arguments) == {"exitCode": code, "output": output, "requestId": 0}


def test_a_failure_leaves_no_trace_in_the_next_request(worker: Worker) -> None:
    for number, bad in enumerate(("fail", "break", "leave", "usage", "pipe"), start=1):
        assert worker.ask("noise", bad, number=number)["exitCode"] != 0
        good = worker.ask("one", number=100 + number)
        assert (good["exitCode"], good["requestId"]) == (0, 100 + number)
        assert sorted(good["output"].splitlines()) == sorted(_SAID.format("one").splitlines())
    worker.ask("two")
    assert worker.end() == (0, b"", b"")


def test_a_fault_of_the_tool_is_reported_with_its_traceback(worker: Worker) -> None:
    reply = worker.ask("break")
    assert reply["exitCode"] == 1
    assert "Traceback" in reply["output"]
    assert "RuntimeError: a fault" in reply["output"]


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b"[" * 5000])
def test_what_is_not_a_request_ends_the_worker_with_the_reason(worker: Worker, line: bytes) -> None:
    worker.ask("a")
    worker.send(line)
    code, out, err = worker.end()
    assert (code, out) == (65, b"")
    assert err.startswith(b"worker: not a request of Bazel's: ")


def test_arguments_may_be_in_a_file_one_a_line(tool: Path, tmp_path: Path) -> None:
    file = tmp_path / "arguments"
    file.write_bytes("caf\u00e9\n@b\n\n".encode())
    assert _plain(tool, f"@{file}") == _plain(tool, "caf\u00e9", "@b", "")


def test_a_file_of_arguments_that_is_missing_is_named(tool: Path) -> None:
    code, output = _plain(tool, "@/nowhere")
    assert code == 1
    assert output.startswith("example: /nowhere: cannot be read: [Errno 2]")
