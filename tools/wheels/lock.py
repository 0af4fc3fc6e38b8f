"""requirements.in, requirements_dev.in → one hash-pinned wheel lock for each architecture.

    bazel run //third_party/python:lock            # newest stable versions of everything
    bazel run //third_party/python:lock -- --check # do the locks still follow from the .in files?

Writes requirements.<arch>.txt (what the image needs) and requirements_dev.<arch>.txt (that and what
tools and tests need) beside the inputs. Shared packages have the same version in all of them. Same
inputs and same index, same bytes; on any failure the old locks stay as they are.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.archive.atomic import replace_files
from tools.cli import ToolError
from tools.wheels.lockfile import LockedWheel, LockError, parse_lock, render_lock
from tools.wheels.resolve import read_requirements, resolve
from tools.wheels.target import Target, architectures, target_from_debian_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TITLE = """\
Wheels for Python {python} on {arch}, glibc 2.{glibc} or newer. Made from {source} by
`bazel run //third_party/python:lock`; do not edit."""

# Inputs in the order they are resolved: a later one keeps the versions of the earlier ones.
INPUTS = ("requirements", "requirements_dev")


@dataclass(frozen=True)
class Locks:
    """The wheels of one architecture, by input."""

    target: Target
    wheels: Mapping[str, tuple[LockedWheel, ...]]


def lock_path(directory: Path, name: str, *, arch: str) -> Path:
    """Returns where the lock of an input goes."""
    return directory / f"{name}.{arch}.txt"


def pins(wheels: Sequence[LockedWheel]) -> list[str]:
    """Returns constraints that hold packages at the versions of `wheels`."""
    return [f"{wheel.name}=={wheel.version}" for wheel in wheels]


def resolve_all(
    directory: Path, *, target: Target, environ: Mapping[str, str], kept: Sequence[str]
) -> Locks:
    """Resolves each input for a target; `kept` are constraints for the first. Raises LockError."""
    wheels: dict[str, tuple[LockedWheel, ...]] = {}
    constraints = list(kept)
    for name in INPUTS:
        roots = read_requirements(directory / f"{name}.in")
        wheels[name] = resolve(roots, target=target, environ=environ, constraints=constraints)
        constraints = sorted({*constraints, *pins(wheels[name])})
    return Locks(target=target, wheels=wheels)


def check_same_versions(locks: Sequence[Locks]) -> None:
    """Raises LockError when a package has different versions in two locks."""
    seen: dict[str, tuple[str, str]] = {}
    for lock in locks:
        for name, wheels in lock.wheels.items():
            for wheel in wheels:
                where = f"{name}.{lock.target.arch}"
                version, first = seen.setdefault(wheel.name, (wheel.version, where))
                if version != wheel.version:
                    message = (
                        f"{wheel.name} would be {version} in {first} and {wheel.version} "
                        f"in {where}: not every release has a wheel for both; bound it in "
                        f"{INPUTS[0]}.in so that they agree"
                    )
                    raise LockError(message)


def render_all(locks: Sequence[Locks], *, directory: Path) -> dict[Path, str]:
    """Returns the text of every lock file by path."""
    texts: dict[Path, str] = {}
    for lock in locks:
        for name, wheels in lock.wheels.items():
            title = _TITLE.format(
                python=lock.target.python,
                arch=lock.target.arch,
                glibc=lock.target.glibc_minor,
                source=f"{name}.in",
            )
            texts[lock_path(directory, name, arch=lock.target.arch)] = render_lock(
                wheels, title=title
            )
    return texts


def kept_versions(directory: Path, *, arch: str) -> list[str]:
    """Returns constraints for the versions already locked; without a lock, raises LockError."""
    kept: set[str] = set()
    for name in INPUTS:
        path = lock_path(directory, name, arch=arch)
        if not path.is_file():
            message = f"{path} does not exist; run `bazel run //third_party/python:lock`"
            raise LockError(message)
        kept.update(pins(parse_lock(path.read_text(encoding="utf-8"), source=str(path))))
    return sorted(kept)


def stale_diff(texts: Mapping[Path, str]) -> str:
    """Returns a unified diff from the files on disk to `texts`; empty when they agree."""
    lines: list[str] = []
    for path, text in texts.items():
        old = path.read_text(encoding="utf-8")
        lines += difflib.unified_diff(
            old.splitlines(keepends=True),
            text.splitlines(keepends=True),
            str(path),
            f"{path} (from its inputs)",
        )
    return "".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lock", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--directory", type=Path, required=True, help="holds the .in files and the locks"
    )
    parser.add_argument(
        "--debian-lock",
        type=Path,
        required=True,
        help="lock whose python3.N and libc6 wheels must fit",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when a lock is out of date"
    )
    return parser


def _lock(args: argparse.Namespace, *, environ: Mapping[str, str]) -> int:
    # `bazel run` starts tools in a runfiles tree and says where the user stood.
    base = Path(environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    directory, debian_lock = base / args.directory, base / args.debian_lock
    targets = [target_from_debian_lock(debian_lock, arch=arch) for arch in architectures()]

    def resolved(target: Target) -> Locks:
        kept = kept_versions(directory, arch=target.arch) if args.check else []
        return resolve_all(directory, target=target, environ=environ, kept=kept)

    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        locks = list(pool.map(resolved, targets))
    check_same_versions(locks)
    texts = render_all(locks, directory=directory)
    if args.check:
        diff = stale_diff(texts)
        if diff:
            sys.stdout.write(diff)
            print(
                "the locks are out of date; run `bazel run //third_party/python:lock`",
                file=sys.stderr,
            )
            return 1
        return 0
    replace_files({path: text.encode() for path, text in texts.items()})
    for path, text in texts.items():
        print(f"{path.name}: {len(parse_lock(text, source=str(path)))} wheels")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the locks; returns 0, or 1 when something is wrong or out of date."""
    args = _parser().parse_args(argv)
    try:
        return _lock(args, environ=os.environ)
    except (LockError, ToolError, OSError) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
