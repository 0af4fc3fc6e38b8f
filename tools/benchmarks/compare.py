"""Ours and an ordinary Dockerfile of the same packages, alternately in one run.

    python3 -m tools.benchmarks.compare --out tools/benchmarks/result

Prints a table, and writes it as OUT.json and OUT.svg. The checkout is the current directory: files
in it are changed for a moment, and restored. Needs buildah, and podman for the row `start`.
Exit codes: 0, or 1 for an error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tools.benchmarks import report
from tools.benchmarks.report import Row, Samples
from tools.benchmarks.workshop import OURS, THEIRS, Workshop, needed, stored
from tools.cli import ToolError, tool

# A file of the application, and a small wheel with versions to change it to.
_CHANGED = "app/settings.py"
_WHEEL = "idna"
_VERSIONS = ("3.10", "3.9", "3.8", "3.7", "3.6", "3.4", "3.3", "3.2", "3.1", "3.0")

Measure = Callable[[Workshop, int], Row]


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Put the files back as they were, whatever happens."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def _changes(
    workshop: Workshop, count: int, *actions: Callable[[], object], changed: bool = True
) -> list[Samples]:
    """Alternate between the actions, each after a new line in the file of both sides."""
    files = (workshop.context / _CHANGED, workshop.checkout / "backend" / _CHANGED)
    seconds: list[list[float]] = [[] for _ in actions]
    with restored(*files):
        for _ in range(count):
            for action, taken in zip(actions, seconds, strict=True):
                for file in files if changed else ():
                    # Never seen before, so that no cache can have it.
                    with file.open("a", encoding="utf-8") as stream:
                        stream.write(f"# {uuid.uuid4()}\n")
                taken.append(_timed(action))
    return [Samples(tuple(each)) for each in seconds]


def measure_line(workshop: Workshop, count: int) -> Row:
    """Measure one changed line of the application → image."""
    theirs, ours = _changes(workshop, count, workshop.build_theirs, workshop.build_ours)
    return Row("line", "one line of code → image", ours, theirs)


def measure_push(workshop: Workshop, count: int) -> Row:
    """Measure one changed line → registry on loopback, and the bytes that are new there."""
    with workshop.registry() as (host, data):
        pushes = [partial(push, host) for push in (workshop.push_theirs, workshop.push_ours)]
        sent = []
        for push in pushes:
            push()
            before = stored(data)
            _changes(workshop, 1, push)
            sent.append(stored(data) - before)
        pair = _changes(workshop, count, *pushes)
    dockerfile, mine = (Samples(each.seconds, n) for each, n in zip(pair, sent, strict=True))
    return Row("push", "one line of code → registry", mine, dockerfile)


def measure_nothing(workshop: Workshop, count: int) -> Row:
    """Measure a build without a change."""
    workshop.build_theirs()
    workshop.build_ours()
    both = workshop.build_theirs, workshop.build_ours
    theirs, ours = _changes(workshop, count, *both, changed=False)
    return Row("nothing", "nothing changed", ours, theirs)


def with_version(lock: str, version: str, digest: str) -> str:
    """Return a lock of wheels with another version of the small wheel; raise ToolError."""
    entry = re.compile(
        rf"# wheel: {_WHEEL}-\S+\n(?P<via>(?:#.*\n)*){_WHEEL}==\S+ \\\n +--hash=sha256:\w+\n"
    )
    replaced, found = entry.subn(
        lambda match: (
            f"# wheel: {_WHEEL}-{version}-py3-none-any.whl\n{match['via']}"
            f"{_WHEEL}=={version} \\\n    --hash=sha256:{digest}\n"
        ),
        lock,
    )
    if found != 1:
        raise ToolError(f"the lock of wheels has {found} entries of {_WHEEL}, and one is needed")
    return replaced


def _wheel_digest(workshop: Workshop, version: str) -> str:
    folder = workshop.work / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    workshop.run(*command, f"--dest={folder}", f"{_WHEEL}=={version}")
    (file,) = folder.glob(f"{_WHEEL}-{version}-*.whl")
    return _sha256(file)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def measure_wheel(workshop: Workshop, count: int) -> Row:
    """Measure a small wheel in another version, to be downloaded, → image."""
    if count > len(_VERSIONS):
        raise ToolError(f"--samples: the row 'wheel' has {len(_VERSIONS)} versions of {_WHEEL}")
    digests = {each: _wheel_digest(workshop, each) for each in _VERSIONS[:count]}
    files = (workshop.context / "requirements.txt", workshop.checkout / workshop.lock)
    actions = (workshop.build_theirs, workshop.build_ours)
    seconds: tuple[list[float], list[float]] = ([], [])
    with restored(*files):
        for version, digest in digests.items():
            for file, action, taken in zip(files, actions, seconds, strict=True):
                text = with_version(file.read_text(encoding="utf-8"), version, digest)
                file.write_text(text, encoding="utf-8")
                taken.append(_timed(action))
    return Row(
        "wheel",
        "a small wheel bumped → image",
        Samples(tuple(seconds[1])),
        Samples(tuple(seconds[0])),
    )


def measure_cold(workshop: Workshop, count: int) -> Row:
    """Measure a user who has nothing, not even Bazel; buildah and its base image are there."""
    ours, theirs = [], []
    for number in range(count):
        theirs.append(_timed(lambda: workshop.build_theirs("--no-cache")))
        with tempfile.TemporaryDirectory(prefix=f"user{number}-", dir=workshop.work) as home:
            clone = Path(home, "clone")
            workshop.run("git", "clone", "--quiet", str(workshop.checkout), str(clone))
            user = {**workshop.environ, "HOME": home, "XDG_CACHE_HOME": f"{home}/cache"}
            stranger = Workshop(clone, workshop.work / "stranger", environ=user)
            ours.append(_timed(stranger.build_ours))
            stranger.bazel("shutdown")
    return Row("cold", "cold: a new user, Bazel too", Samples(tuple(ours)), Samples(tuple(theirs)))


def measure_start(workshop: Workshop, count: int) -> Row:
    """Measure `podman run` → the first 200 of /health."""
    workshop.load_ours()
    seconds: dict[str, list[float]] = {THEIRS: [], OURS: []}
    for image in seconds:
        workshop.start(image)  # Once without a clock: both from the page cache.
    for _ in range(count):
        for image, taken in seconds.items():
            taken.append(workshop.start(image))
    ours, theirs = (Samples(tuple(seconds[image])) for image in (OURS, THEIRS))
    return Row("start", "container start → /health", ours, theirs)


def measure_tests(workshop: Workshop, count: int) -> Row:
    """Measure all tests without cached results; the Dockerfile has none."""
    flags = ("--nocache_test_results", "//...")
    seconds = [_timed(lambda: workshop.bazel("test", *flags)) for _ in range(count)]
    return Row("tests", "all tests", Samples(tuple(seconds)))


ROWS: dict[str, Measure] = {
    "line": measure_line,
    "push": measure_push,
    "nothing": measure_nothing,
    "wheel": measure_wheel,
    "cold": measure_cold,
    "start": measure_start,
    "tests": measure_tests,
}
_DEFAULT = "line,push,nothing,wheel,start"


def machine(engines: Sequence[str]) -> list[str]:
    """Return what the figures depend on, a line each."""
    now = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    versions = [
        subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        .stdout.partition("(")[0]
        .strip()
        for name in engines
    ]
    return [
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, {'; '.join(versions)}",
        f"Load average at the end: {now}. On an idle machine it is about 1 to 2.",
    ]


def _rows(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}"
        )
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("a number from 1 is needed")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compare", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--rows", type=_rows, default=_DEFAULT, help=f"of {','.join(ROWS)}; default {_DEFAULT}")
    add("--samples", type=_count, default=5, help="runs of each side for each row; default 5")
    add("--out", type=Path, help="write OUT.json and OUT.svg")
    add("--base", help="image of Debian 12 to build the Dockerfile from; default: by debootstrap")
    add("--work", type=Path, help="keep the Dockerfile's images here, for another run")
    return parser


@tool("compare")
def main(argv: list[str] | None = None) -> None:
    """Measure the rows and print the table."""
    flags = _parser().parse_args(argv)
    checkout = Path.cwd()
    if not (checkout / "tools/bazelw").exists():
        raise ToolError(f"{checkout}: start this in the root of the checkout to measure")
    engines = ["buildah", *(["podman"] if "start" in flags.rows else [])]
    if set(flags.rows) != {"tests"}:
        needed(dict.fromkeys(engines, "it runs the Dockerfile's side"))
    work = flags.work or Path(tempfile.mkdtemp(prefix="compare-"))
    workshop = Workshop(checkout, work.resolve(), flags.base)
    try:
        print("building both images", file=sys.stderr)
        workshop.prepare()
        rows = []
        for name in flags.rows:
            print(f"measuring {name}", file=sys.stderr)
            rows.append(ROWS[name](workshop, flags.samples))
        about = machine(engines)
        print(report.table(rows, about), end="")
        if flags.out:
            flags.out.with_suffix(".json").write_text(report.to_json(rows, about), encoding="utf-8")
            flags.out.with_suffix(".svg").write_text(report.picture(rows, about), encoding="utf-8")
    finally:
        if flags.work is None:
            _remove(workshop)


def _remove(workshop: Workshop) -> None:
    """Remove what containers wrote, too, whose owners are subordinate ids."""
    if os.geteuid():
        workshop.run("buildah", "unshare", "rm", "-rf", str(workshop.work))
        return
    mount = workshop.work / "store" / "overlay"
    if mount.is_mount():  # The engines leave it.
        workshop.run("umount", str(mount))
    shutil.rmtree(workshop.work)


if __name__ == "__main__":
    sys.exit(main())
