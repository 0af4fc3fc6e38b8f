"""Run pytest inside an image, with its interpreter, packages, libraries and user.

    pytest_in_image.py --image DIR --tests DIR --target /app/tests --wheels FILE --tree NAME=DIR…
        [--env KEY=VALUE…] -- pytest's own arguments, relative to the target's parent

What the image lacks is mounted below /srv: wheels such as pytest's (`--wheels`, a file of the rule
`site_packages`), which come last on Python's path, so that a module of the image is never replaced;
and servers for the tests (`--tree`, at /srv/NAME). The container has only a loopback network. JUnit
XML goes to $XML_OUTPUT_FILE; what tests write to $TEST_UNDECLARED_OUTPUTS_DIR is kept there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.cli import tool
from tools.container.config import image_user, process_env, read_run_config
from tools.container.plan import Bind, Spec
from tools.container.run import Container
from tools.image.cache import unpacked
from tools.image.layout import read_layout

MOUNTS = "/srv"
TIMEOUT_SECONDS = 3600.0

# Where tests write files for Bazel to keep: https://bazel.build/reference/test-encyclopedia
_OUTPUTS = {"TEST_UNDECLARED_OUTPUTS_DIR": f"{MOUNTS}/outputs"}

# The image's own modules come first: the tests must see them, not those that were mounted.
_START = """\
import sys
sys.path.extend(sys.argv.pop(1).split(":"))
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class ImageTestRun:
    """What to run: paths on this machine, and where the tests appear in the image."""

    image: Path
    tests: Path
    target: str
    packages: tuple[Path, ...]
    trees: tuple[tuple[str, Path], ...]
    environment: tuple[tuple[str, str], ...]
    arguments: tuple[str, ...]
    disk_bytes: int = 0


def copy_following_links(source: Path, target: Path) -> None:
    """Copy a directory of links, such as a runfiles tree, as the files they lead to."""
    shutil.copytree(
        source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )


def tree_root(directory: Path) -> Path:
    """Return the repository of which a runfiles directory shows files and directories by links.

    Raise FileNotFoundError if there is nothing in it.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or path.is_file():
            depth = len(path.relative_to(directory).parts)
            real = path.resolve()
            # A link inside the repository may lead elsewhere in it; a plain file leads to itself.
            if real.parts[-depth:] == path.relative_to(directory).parts:
                return real.parents[depth - 1]
    raise FileNotFoundError(f"{directory}: no file in it, so there is nothing to mount")


def read_wheels(listing: Path) -> tuple[Path, ...]:
    """Return the directories that a file of `site_packages` lists, from a test's directory."""
    return tuple(Path("..", line) for line in listing.read_text("utf-8").splitlines())


def run_tests(run: ImageTestRun, scratch: Path) -> int:
    """Return pytest's exit code; raise ToolError or OSError."""
    image = read_layout(run.image)
    settings = read_run_config(image.config)
    packages, results, outputs = scratch / "packages", scratch / "results", scratch / "outputs"
    for directory in (packages, results, outputs, scratch / "writes"):
        directory.mkdir()
    for package in run.packages:
        # With its bytecode: the image may not write any, and each process would compile it again.
        shutil.copytree(package, packages, dirs_exist_ok=True)
    copy_following_links(run.tests, scratch / "tests")
    binds = [
        Bind(scratch / "tests", run.target, read_only=True),
        Bind(packages, f"{MOUNTS}/packages", read_only=True),
        Bind(results, f"{MOUNTS}/results"),
        Bind(outputs, f"{MOUNTS}/outputs"),
        *(Bind(tree_root(path), f"{MOUNTS}/{name}", read_only=True) for name, path in run.trees),
    ]
    with unpacked(image.layers, scratch=scratch) as rootfs:
        user = image_user(rootfs, settings.user)
        spec = Spec(
            rootfs=rootfs,
            user=user,
            binds=tuple(binds),
            volumes=settings.volumes,
            workdir=settings.workdir,
            scratch=scratch / "writes",
            # What the image itself may write is in `scratch`, so that this is the disk's size.
            tmpfs=(f"{MOUNTS}/disk",) if run.disk_bytes else (),
            write_bytes=run.disk_bytes or Spec.write_bytes,
        )
        with Container(spec) as container:
            number = container.spawn(
                [
                    "python3",
                    "-c",
                    _START,
                    f"{MOUNTS}/packages",
                    f"--junitxml={MOUNTS}/results/junit.xml",
                    "--import-mode=importlib",
                    "-p",
                    "no:cacheprovider",
                    "-ra",
                    *run.arguments,
                ],
                env=process_env(settings, user, dict(run.environment) | _OUTPUTS),
                workdir=str(Path(run.target).parent),
                stdin=0,
                stdout=1,
                stderr=2,
            )
            code = container.wait(number, TIMEOUT_SECONDS)
    kept = os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR")
    if kept:
        shutil.copytree(outputs, kept, dirs_exist_ok=True)
    report = os.environ.get("XML_OUTPUT_FILE")
    if report and (results / "junit.xml").exists():
        shutil.copyfile(results / "junit.xml", report)
    if code is None:
        print(f"image_pytest_test: timed out after {TIMEOUT_SECONDS:.0f} s", file=sys.stderr)
        return 1
    return code


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE, found {text!r}")
    return name, value


def _tree(text: str) -> tuple[str, Path]:
    name, value = _pair(text)
    return name, Path(value)


@tool("image_pytest_test")
def main(argv: list[str] | None = None) -> int:
    """Run the command line; return pytest's exit code, or 1 if the image could not be started."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", type=Path, required=True, help="OCI layout directory")
    parser.add_argument("--tests", type=Path, required=True, help="directory with the tests")
    parser.add_argument("--target", required=True, help="where the image sees that directory")
    parser.add_argument(
        "--wheels", type=Path, metavar="FILE", help="list of directories of modules, in runfiles"
    )
    parser.add_argument(
        "--tree", type=_tree, action="append", default=[], help="directory to see at /srv/NAME"
    )
    parser.add_argument(
        "--env", type=_pair, action="append", default=[], help="variable of the tests"
    )
    parser.add_argument(
        "--disk-bytes", type=int, default=0, help="size of an empty disk at /srv/disk (none)"
    )
    parser.add_argument("arguments", nargs="*", help="for pytest")
    flags = parser.parse_args(argv)
    only = os.environ.get("TESTBRIDGE_TEST_ONLY", "")
    run = ImageTestRun(
        image=flags.image,
        tests=flags.tests,
        target=flags.target,
        packages=read_wheels(flags.wheels) if flags.wheels else (),
        trees=tuple(flags.tree),
        environment=tuple(flags.env),
        arguments=(*flags.arguments, *(["-k", only] if only else [])),
        disk_bytes=flags.disk_bytes,
    )
    # Tools that write sockets need a short path, and Bazel's is long.
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as scratch:
        return run_tests(run, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
