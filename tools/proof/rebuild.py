"""Run the commands that made an image once more, in another place and under other conditions.

    rebuild.py --steps image_steps.json --work-dir DIR

Guarantee: exit code 0 means that every output of every command has the same bytes as the one that
Bazel built, although directory, umask, time zone, locale, hash seed, user, host name and number
of processors differ.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError, tool
from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as
from tools.proof import compare

# Each of these has changed the bytes of somebody's image.
ODD_ENVIRONMENT: Mapping[str, str] = {
    "HOME": "/nonexistent",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "tr_TR.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "4242",
    "SOURCE_DATE_EPOCH": "1234567890",
    "TZ": "Asia/Kathmandu",
    "USER": "somebody-else",
}
ODD_UMASK = 0o077
ODD_ID = 54321
ODD_HOST = "elsewhere"
STEP_TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Output:
    """What a command makes: its path below Bazel's execution root and below the test's runfiles."""

    path: str
    short_path: str
    directory: bool


@dataclass(frozen=True)
class Step:
    """One command of a build, with paths relative to Bazel's execution root."""

    mnemonic: str
    argv: tuple[str, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Steps:
    """A build: its commands in order, and what they start from: execution to runfiles path."""

    steps: tuple[Step, ...]
    files: Mapping[str, str]


def read_steps(path: Path) -> Steps:
    """Read what the `build_steps` rule wrote.

    Raise ToolError if there is no step in it: nothing would be compared.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    steps = tuple(
        Step(
            step["mnemonic"],
            tuple(step["argv"]),
            tuple(Output(**output) for output in step["outputs"]),
        )
        for step in content["steps"]
    )
    if not steps:
        raise ToolError(f"{path}: no commands in it; is the target an image or a layer?")
    return Steps(steps, content["files"])


def script_of(step: Step, runfiles: Path) -> Path:
    """Find the Python file behind a step's program: `…/bin/tools/x/y` is `tools/x/y.py`.

    A program of another repository, `…/bin/external/REPO/x`, lies beside our own: `../REPO/x.py`.

    Raise ToolError if that file is not among the runfiles.
    """
    program = re.sub("^external/", "../", step.argv[0].partition("/bin/")[2])
    script = runfiles / f"{program}.py"
    if not script.is_file():
        raise ToolError(
            f"{step.mnemonic}: no {script} behind {step.argv[0]}; "
            "add the program to the deps of reproducibility_test"
        )
    return script


def place_inputs(build: Steps, *, runfiles: Path, root: Path) -> None:
    """Link the files that the commands start from, at their execution paths below `root`."""
    made = {output.path for step in build.steps for output in step.outputs}
    for execution_path, short_path in build.files.items():
        if execution_path in made:
            continue
        link = root / execution_path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((runfiles / short_path).resolve())


def _odd_process() -> None:
    """Make the child another user on another host (user_namespaces(7), uts_namespaces(7))."""
    unshare_as(ODD_ID, ODD_ID, linux.CLONE_NEWUTS)
    linux.set_hostname(ODD_HOST)
    os.umask(ODD_UMASK)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run_step(step: Step, *, runfiles: Path, root: Path) -> None:
    """Run one command below `root` with the odd environment, on one processor.

    Raise ToolError with its last output if it fails.
    """
    for output in step.outputs:
        # Bazel makes the parents beforehand, and an output directory too.
        path = root / output.path
        (path if output.directory else path.parent).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(script_of(step, runfiles)), *step.argv[1:]],
        cwd=root,
        env={**ODD_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=_odd_process,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=STEP_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        tail = done.stdout.decode("utf-8", "replace")[-4000:]
        raise ToolError(
            f"{step.mnemonic} {step.outputs[0].path} ended with {done.returncode}:\n{tail}"
        )


def rebuild(build: Steps, *, runfiles: Path, root: Path) -> list[str]:
    """Run every command again and return what differs from Bazel's outputs, in build order.

    Raise ToolError if a command fails.
    """
    place_inputs(build, runfiles=runfiles, root=root)
    differences = []
    for step in build.steps:
        run_step(step, runfiles=runfiles, root=root)
        for output in step.outputs:
            difference = compare.first_difference(runfiles / output.short_path, root / output.path)
            print(f"{'DIFFERS' if difference else 'same':8}{step.mnemonic:18}{output.short_path}")
            if difference:
                differences.append(f"{output.short_path}: {difference}")
    return differences


@tool("rebuild")
def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if the second build equals the first, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=Path, required=True, help="JSON written by build_steps")
    parser.add_argument("--work-dir", type=Path, help="where to build (default: $TMPDIR)")
    args = parser.parse_args(argv)
    # A space and a letter outside ASCII: a path that leaks or is split would show.
    root = Path(tempfile.mkdtemp(prefix="second b\u0131ld ", dir=args.work_dir))
    try:
        differences = rebuild(read_steps(args.steps), runfiles=Path.cwd(), root=root)
    finally:
        shutil.rmtree(root)
    for difference in differences:
        print(f"NOT REPRODUCIBLE: {difference}", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
