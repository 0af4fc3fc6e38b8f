"""Runs pytest inside an image: its interpreter, its packages, its libraries, its user.

    pytest_in_image.py --image DIR --tests DIR --target /app/tests --python-path FILE --tree NAME=DIR…
        [--env KEY=VALUE…] -- pytest's own arguments, relative to the target's parent

What the image lacks is brought along and is found after everything the image has: pytest itself
(`--python-path`, a file with a directory of modules on each line) and servers for the tests (`--tree`, seen at /srv/NAME). The
container has only a loopback network. JUnit XML goes to $XML_OUTPUT_FILE, what tests write into
$TEST_UNDECLARED_OUTPUTS_DIR is kept there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.container.config import image_user, process_env, read_settings
from tools.container.plan import Bind, Spec
from tools.container.run import START_ERRORS, Container
from tools.image.cache import Cache, shared_root
from tools.image.layout import LayoutError, read_layout

BROUGHT = "/srv"
TIMEOUT_SECONDS = 3600.0

# Where Bazel's tests leave what they want kept: https://bazel.build/reference/test-encyclopedia
_OUTPUTS = {"TEST_UNDECLARED_OUTPUTS_DIR": f"{BROUGHT}/outputs"}

# The image's own modules come first: what is tested must not be what was brought along.
_START = """\
import sys
sys.path.extend(sys.argv.pop(1).split(":"))
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Session:
    """What to run: paths on this machine, and where the tests appear in the image."""

    image: Path
    tests: Path
    target: str
    packages: tuple[Path, ...]
    trees: tuple[tuple[str, Path], ...]
    environment: tuple[tuple[str, str], ...]
    arguments: tuple[str, ...]


def copy_following_links(source: Path, target: Path) -> None:
    """Copies a directory of links, as a runfiles tree is, as the files they lead to."""
    shutil.copytree(
        source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )


def tree_root(directory: Path) -> Path:
    """Returns the repository that a runfiles directory shows file by file.

    Raises:
        FileNotFoundError: there is no file in it.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            depth = len(path.relative_to(directory).parts)
            real = path.resolve()
            # A link inside the repository may lead elsewhere in it; a plain file leads to itself.
            if real.parts[-depth:] == path.relative_to(directory).parts:
                return real.parents[depth - 1]
    raise FileNotFoundError(f"{directory}: no file in it, so nothing to bring into the container")


def run_session(session: Session, scratch: Path) -> int:
    """Returns pytest's exit code. Raises one of START_ERRORS or LayoutError."""
    image = read_layout(session.image)
    settings = read_settings(image.config)
    packages, results, outputs = scratch / "packages", scratch / "results", scratch / "outputs"
    for directory in (packages, results, outputs, scratch / "writes"):
        directory.mkdir()
    for package in session.packages:
        copy_following_links(package, packages)
    copy_following_links(session.tests, scratch / "tests")
    binds = [
        Bind(scratch / "tests", session.target, read_only=True),
        Bind(packages, f"{BROUGHT}/packages", read_only=True),
        Bind(results, f"{BROUGHT}/results"),
        Bind(outputs, f"{BROUGHT}/outputs"),
        *(
            Bind(tree_root(path), f"{BROUGHT}/{name}", read_only=True)
            for name, path in session.trees
        ),
    ]
    shared = shared_root()
    cache = Cache(shared or scratch / "cache")
    with cache.rootfs(image.layers, keep_prefix=shared is not None) as rootfs:
        user = image_user(rootfs, settings.user)
        spec = Spec(
            rootfs=rootfs,
            user=user,
            binds=tuple(binds),
            workdir=settings.workdir,
            scratch=scratch / "writes",
        )
        with Container(spec) as container:
            number = container.spawn(
                [
                    "python3",
                    "-c",
                    _START,
                    f"{BROUGHT}/packages",
                    f"--junitxml={BROUGHT}/results/junit.xml",
                    "--import-mode=importlib",
                    "-p",
                    "no:cacheprovider",
                    "-ra",
                    *session.arguments,
                ],
                env=process_env(settings, user, dict(session.environment) | _OUTPUTS),
                workdir=str(Path(session.target).parent),
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
        print(f"pytest_in_image: still running after {TIMEOUT_SECONDS:.0f} s", file=sys.stderr)
        return 1
    return code


def python_path(listing: Path) -> tuple[Path, ...]:
    """Return the directories that a file lists; tests start in a directory of the runfiles."""
    lines = listing.read_text(encoding="utf-8").splitlines()
    return tuple(Path("..") / line for line in lines)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE, found {text!r}")
    return name, value


def _tree(text: str) -> tuple[str, Path]:
    name, value = _pair(text)
    return name, Path(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns pytest's exit code, or 1 if the image could not be started."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, required=True, help="OCI layout directory")
    parser.add_argument("--tests", type=Path, required=True, help="directory with the tests")
    parser.add_argument("--target", required=True, help="where the image sees that directory")
    parser.add_argument(
        "--python-path", type=Path, required=True, help="list of directories below the runfiles"
    )
    parser.add_argument("--tree", type=_tree, action="append", default=[])
    parser.add_argument("--env", type=_pair, action="append", default=[])
    parser.add_argument("arguments", nargs="*", help="for pytest")
    args = parser.parse_args(argv)
    only = os.environ.get("TESTBRIDGE_TEST_ONLY", "")
    session = Session(
        image=args.image,
        tests=args.tests,
        target=args.target,
        packages=python_path(args.python_path),
        trees=tuple(args.tree),
        environment=tuple(args.env),
        arguments=(*args.arguments, *(["-k", only] if only else [])),
    )
    # Tools that write sockets need a short path, and Bazel's is long.
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as scratch:
        try:
            return run_session(session, Path(scratch))
        except (*START_ERRORS, LayoutError) as error:
            print(f"pytest_in_image: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
