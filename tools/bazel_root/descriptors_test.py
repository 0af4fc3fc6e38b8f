import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tools.bazel_root.launcher import REPOSITORY

# Becomes a shell that lists the descriptors it was given.
PROGRAM = """
import os, sys
from tools.bazel_root.descriptors import keep_standard_streams
keep_standard_streams(sys.argv[1:])
os.execv("/bin/sh", ["sh", "-c", "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done"])
"""


def _passed_on(*argv: str, descriptors: "tuple[int, ...]") -> "set[int]":
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # The shell itself may have some, above 9.
    return {int(line) for line in result.stdout.split() if int(line) in (0, 1, 2, *descriptors)}


def test_only_the_standard_streams_are_passed_on(tmp_path: Path) -> None:
    with open(tmp_path / "one", "w") as one, open(tmp_path / "two", "w") as two:
        opened = (one.fileno(), two.fileno())
        assert _passed_on("build", "//x", descriptors=opened) == {0, 1, 2}


def test_a_descriptor_that_an_argument_names_is_passed_on(tmp_path: Path) -> None:
    with open(tmp_path / "one", "w") as one, open(tmp_path / "two", "w") as two:
        opened = (one.fileno(), two.fileno())
        word = f"--bazelrc=/dev/fd/{one.fileno()}"
        assert _passed_on(word, "build", descriptors=opened) == {0, 1, 2, one.fileno()}


def test_a_server_does_not_hold_the_callers_lock(tmp_path: Path) -> None:
    # A Bazel that leaves something running, as `flock 9; tools/bazelw build 9>lock` would meet it.
    bazel = tmp_path / "bazel"
    bazel.write_text("#!/bin/sh\nsleep 60 >/dev/null 2>&1 & echo $!\n")
    bazel.chmod(0o755)
    path = tmp_path / "lock"
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = subprocess.run(
            [sys.executable, str(REPOSITORY / "tools" / "bazelw"), "build"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BAZELW_BAZEL": str(bazel)},
            pass_fds=(lock.fileno(),),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    try:
        with open(path) as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(int(result.stdout), 15)
