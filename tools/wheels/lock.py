"""Requirements (.in) → one hash-pinned lock of wheels for each architecture.

    bazel run //third_party/python:lock             # newest stable versions of everything
    bazel run //third_party/python:lock -- --check  # do the locks still follow from their inputs?
    bazel run //third_party/python:lock -- --upgrade [NAME…]  # what changes, as a table

`python_lock` in defs.bzl makes such a target. `NAME.in` becomes `NAME.<arch>.txt` beside it, or in
`--directory`, for each architecture of the Debian lock. A package has the same version in all of
them. The same inputs and index give the same bytes; on any failure the old locks stay as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from tools.archive.atomic import replace_files
from tools.cli import ToolError, tool
from tools.wheels.fetch_wheels import WantedWheel, fetch
from tools.wheels.lockfile import LockedWheel, parse_lock, render_lock
from tools.wheels.resolve import read_requirements, resolve
from tools.wheels.target import Target, targets_from_debian_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_TITLE = "Wheels for Python {python} on {arch}, glibc 2.{glibc} or newer. Made from {source} by"


@dataclass(frozen=True)
class Locks:
    """The wheels of one architecture, by the input that asks for them."""

    target: Target
    wheels: Mapping[Path, tuple[LockedWheel, ...]]
    directory: Path | None = None

    def path(self, source: Path) -> Path:
        """Return where the lock of an input goes."""
        return lock_path(source, arch=self.target.arch, directory=self.directory)


@dataclass(frozen=True)
class Upgrade:
    """A package that moved, came or went ("absent"), and the inputs whose locks have it.

    `size` is that of the new files of all architectures, `growth` the difference to the old ones;
    None where the index no longer has one of the files.
    """

    name: str
    old: str
    new: str
    inputs: tuple[str, ...]
    size: int | None
    growth: int | None


def lock_path(source: Path, *, arch: str, directory: Path | None = None) -> Path:
    """Return where the lock of an input goes: beside it, or into a directory."""
    return (directory or source.parent) / f"{source.stem}.{arch}.txt"


def pins(wheels: Sequence[LockedWheel]) -> list[str]:
    """Return constraints that hold packages at the versions of `wheels`."""
    return [f"{wheel.name}=={wheel.version}" for wheel in wheels]


def resolve_all(
    sources: Sequence[Path],
    *,
    target: Target,
    environ: Mapping[str, str],
    kept: Sequence[str],
    directory: Path | None = None,
) -> Locks:
    """Resolve each input for a target: a later one keeps the versions of the earlier ones.

    `kept` are constraints for the first. Raise ToolError.
    """
    wheels: dict[Path, tuple[LockedWheel, ...]] = {}
    constraints = list(kept)
    for source in sources:
        roots = read_requirements(source)
        wheels[source] = resolve(roots, target=target, environ=environ, constraints=constraints)
        constraints = sorted({*constraints, *pins(wheels[source])})
    return Locks(target=target, wheels=wheels, directory=directory)


def check_same_versions(locks: Sequence[Locks]) -> None:
    """Raise ToolError when a package has different versions in two locks."""
    seen: dict[str, tuple[str, str]] = {}
    for lock in locks:
        for source, wheels in lock.wheels.items():
            for wheel in wheels:
                where = lock.path(source).stem
                version, first = seen.setdefault(wheel.name, (wheel.version, where))
                if version != wheel.version:
                    raise ToolError(
                        f"{wheel.name} would be {version} in {first} and {wheel.version} "
                        f"in {where}: not every release has a wheel for both; bound it in "
                        f"{source.name} so that they agree"
                    )


def render_all(locks: Sequence[Locks], *, command: str) -> dict[Path, str]:
    """Return the text of every lock file by path."""
    texts: dict[Path, str] = {}
    for lock in locks:
        for source, wheels in lock.wheels.items():
            title = _TITLE.format(
                python=lock.target.python,
                arch=lock.target.arch,
                glibc=lock.target.glibc_minor,
                source=source.name,
            )
            texts[lock.path(source)] = render_lock(wheels, title=title, command=command)
    return texts


def kept_versions(paths: Iterable[Path], *, command: str) -> list[str]:
    """Return constraints for the versions already locked; without a lock, raise ToolError."""
    kept: set[str] = set()
    for path in paths:
        if not path.is_file():
            raise ToolError(f"{path} does not exist; make it with: {command}")
        kept.update(pins(parse_lock(path.read_text(encoding="utf-8"), source=str(path))))
    return sorted(kept)


def upgradable(kept: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the constraints without those of `names`; raise ToolError for an unknown name."""
    wanted = {canonicalize_name(name) for name in names}
    locked = {pin.partition("==")[0] for pin in kept}
    unknown = sorted(wanted - locked)
    if unknown:
        raise ToolError(f"--upgrade: {', '.join(unknown)}: not in the locks")
    return [pin for pin in kept if pin.partition("==")[0] not in wanted]


Old = dict[Path, dict[str, LockedWheel]]


def old_wheels(paths: Iterable[Path]) -> Old:
    """Return the wheels by name in each lock on disk; a lock that is not there has none."""
    return {
        path: {
            wheel.name: wheel
            for wheel in parse_lock(path.read_text(encoding="utf-8"), source=str(path))
        }
        if path.is_file()
        else {}
        for path in paths
    }


def _sizes(wheels: Iterable[LockedWheel], *, environ: Mapping[str, str]) -> dict[str, int]:
    """Return the sizes of files by SHA256, without those that the index no longer has.

    An index need not state a size, so the files are fetched, by hash.
    """
    import pip

    place = Path(pip.__file__).parent.parent
    sizes: dict[str, int] = {}
    for wheel in {wheel.sha256: wheel for wheel in wheels}.values():
        pin = f"{wheel.name}=={wheel.version}"
        wanted = WantedWheel(pin=pin, sha256=wheel.sha256, filename=wheel.filename)
        with tempfile.TemporaryDirectory(prefix="wheel-size-") as directory:
            output = Path(directory)
            with contextlib.suppress(ToolError):
                fetch([wanted], pip=place, output=output, environ=environ)
                sizes[wheel.sha256] = (output / wheel.filename).stat().st_size
    return sizes


def upgrades(old: Old, locks: Sequence[Locks], *, environ: Mapping[str, str]) -> list[Upgrade]:
    """Return the packages that moved, came or went, each once with the inputs that have it."""
    inputs: dict[tuple[str, str, str], dict[str, None]] = {}
    files: dict[tuple[str, str, str], tuple[set[LockedWheel], set[LockedWheel]]] = {}
    for lock in locks:
        for source, wheels in lock.wheels.items():
            before = old[lock.path(source)]
            after = {wheel.name: wheel for wheel in wheels}
            for name in sorted(before.keys() | after.keys()):
                was, now = before.get(name), after.get(name)
                move = (name, was.version if was else "absent", now.version if now else "absent")
                if move[1] == move[2]:
                    continue
                inputs.setdefault(move, {})[source.name] = None
                sides = files.setdefault(move, (set(), set()))
                sides[0].update([was] if was else [])
                sides[1].update([now] if now else [])
    moved = (wheel for sides in files.values() for side in sides for wheel in side)
    sizes = _sizes(moved, environ=environ)

    def total(side: set[LockedWheel]) -> int | None:
        hashes = {wheel.sha256 for wheel in side}
        return sum(sizes[each] for each in hashes) if hashes <= sizes.keys() else None

    found = []
    for move in sorted(inputs):
        was_size, size = (total(side) for side in files[move])
        growth = None if size is None or was_size is None else size - was_size
        found.append(Upgrade(*move, inputs=tuple(inputs[move]), size=size, growth=growth))
    return found


_HEADINGS = ("package", "old → new", "bytes", "asked for by", "CVEs fixed")
# A wheel has no changelog that its author signed.
_NO_CVES = "not told by wheels"


def table(found: Sequence[Upgrade], *, markdown: bool) -> Iterator[str]:
    """Yield the lines of the table of upgrades, for a terminal or in Markdown."""
    rows = [_HEADINGS]
    for each in found:
        growth = "unknown" if each.growth is None else f"{each.growth:+,}"
        size = "unknown" if each.size is None else f"{each.size:,} ({growth})"
        asked = ", ".join(each.inputs)
        rows.append((each.name, f"{each.old} → {each.new}", size, asked, _NO_CVES))
    if markdown:
        yield f"| {' | '.join(rows[0])} |"
        yield "|---|---|--:|---|---|"
        yield from (f"| {' | '.join(row)} |" for row in rows[1:])
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def stale_diff(texts: Mapping[Path, str]) -> str:
    """Return a unified diff from the files on disk to `texts`; empty when they agree."""
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
        "--input",
        type=Path,
        action="append",
        required=True,
        help="a .in file; a later one keeps the versions of the earlier ones",
    )
    parser.add_argument(
        "--debian-lock",
        type=Path,
        required=True,
        help="lock whose python3.N and libc6 wheels must fit",
    )
    parser.add_argument(
        "--directory", type=Path, help="where the locks go; beside the inputs without it"
    )
    parser.add_argument(
        "--architecture",
        action="append",
        default=[],
        help="lock for this one alone (may be repeated); without it, for all of the Debian lock",
    )
    parser.add_argument(
        "--command",
        default="python3 -m tools.wheels.lock",
        help="what people run to start this; the locks and errors quote it",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--check", action="store_true", help="change nothing; fail when a lock is out of date"
    )
    only.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        help="write the locks and print a table of what changes; with names, only these move",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table of --upgrade as Markdown"
    )
    return parser


def _targets(debian_lock: Path, *, wanted: Sequence[str]) -> tuple[Target, ...]:
    targets = targets_from_debian_lock(debian_lock)
    unknown = sorted(set(wanted) - {target.arch for target in targets})
    if unknown:
        raise ToolError(f"--architecture: {debian_lock} has no packages for {', '.join(unknown)}")
    return tuple(target for target in targets if not wanted or target.arch in wanted)


def _lock(args: argparse.Namespace, *, environ: Mapping[str, str]) -> int:
    # `bazel run` starts tools in a runfiles tree and says where the user stood.
    base = Path(environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    sources = [base / source for source in args.input]
    targets = _targets(base / args.debian_lock, wanted=args.architecture)
    directory = base / args.directory if args.directory else None

    def resolved(target: Target) -> Locks:
        kept: list[str] = []
        if args.check or args.upgrade:
            paths = [lock_path(each, arch=target.arch, directory=directory) for each in sources]
            kept = kept_versions(paths, command=args.command)
        resolve_for = partial(
            resolve_all, sources, target=target, environ=environ, directory=directory
        )
        if not args.upgrade:
            return resolve_for(kept=kept)
        kept = upgradable(kept, args.upgrade)
        try:
            return resolve_for(kept=kept)
        except ToolError as error:
            raise ToolError(
                f"{error}\nAll but {', '.join(args.upgrade)} were to stay; name what has to move as"
                " well"
            ) from error

    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        locks = list(pool.map(resolved, targets))
    check_same_versions(locks)
    texts = render_all(locks, command=args.command)
    if args.check:
        diff = stale_diff(texts)
        if diff:
            sys.stdout.write(diff)
            print(f"the locks are out of date; renew them with: {args.command}", file=sys.stderr)
            return 1
        return 0
    before = old_wheels(texts) if args.upgrade is not None else {}
    found = upgrades(before, locks, environ=environ) if args.upgrade is not None else []
    if directory:
        directory.mkdir(exist_ok=True)
    replace_files({path: text.encode() for path, text in texts.items()})
    if args.upgrade is not None:
        lines = table(found, markdown=args.markdown) if found else ["the locks are up to date"]
        print("\n".join(lines))
        return 0
    for path, text in texts.items():
        print(f"{path.name}: {len(parse_lock(text, source=str(path)))} wheels")
    return 0


@tool("lock")
def main(argv: list[str] | None = None) -> int:
    """Write or checks the locks; return 0, or 1 when something is wrong or out of date."""
    args = _parser().parse_args(argv)
    return _lock(args, environ=os.environ)


if __name__ == "__main__":
    sys.exit(main())
