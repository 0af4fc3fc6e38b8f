"""Collect every file that the locks pin in a directory, which is then a mirror.

    vendor --debian-lock bookworm.lock.json --python-lock requirements.amd64.txt DIR

    DIR/debian/pool/…, DIR/debian-security/pool/…    packages, as in Debian's archives
    DIR/simple/NAME/                                 wheels, as in an index of PEP 503
    DIR/SHA256SUMS                                   every file, for `sha256sum -c`

A file that is there already, with its hash, is not fetched again, so that an interrupted run is
continued by the same command. Where a build is to use DIR, on a disk or served by any web server:

    DEBIAN_MIRROR=file://DIR/debian  PIP_INDEX_URL=file://DIR/simple

Exit code 0: every file is there; 1: some are not, each named with its cause.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import os
import sys
import threading
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pip

from tools.apt.lockfile import Lock, LockedPackage, read_lock
from tools.apt.mirrors import ARCHIVES, DEBIAN, SECURITY, archive_urls
from tools.archive.atomic import replace_files
from tools.bazel_root.download import Store
from tools.bazel_root.lockfile import RootPackage
from tools.bazel_root.prepare import tls_context
from tools.bazel_root.progress import Progress
from tools.cli import ToolError, read_text, tool
from tools.image.scratch import remove_tree, scratch_directory
from tools.wheels.fetch_wheels import WantedWheel, fetch
from tools.wheels.lockfile import LockedWheel, parse_lock

SUMS = "SHA256SUMS"
_SNAPSHOT = "https://snapshot.debian.org/archive"
_SCRATCH = ".partial"
_WORKERS = 8
_BATCH = 25  # wheels that pip is asked for at a time


def package_path(package: LockedPackage) -> Path:
    """Return where a package lies in the mirror."""
    return Path(package.archive, package.filename)


def wheel_path(wheel: LockedWheel) -> Path:
    """Return where a wheel lies in the mirror."""
    return Path("simple", wheel.name, wheel.filename)


def digest_of(path: Path) -> str | None:
    """Return a file's sha256, None if there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def wanted_packages(locks: Iterable[Path]) -> dict[LockedPackage, str]:
    """Return the packages of all locks, each file once, with the snapshot that has it."""
    found: dict[Path, tuple[LockedPackage, Lock]] = {}
    for path in locks:
        lock = read_lock(path)
        for package in lock.packages:
            if package.archive not in ARCHIVES or not _is_inside(package_path(package)):
                raise ToolError(
                    f"{path}: {package.name} lies at {package.filename!r}, outside a pool"
                )
            found.setdefault(package_path(package), (package, lock))
    return {package: lock.snapshot for package, lock in found.values()}


def wanted_wheels(locks: Iterable[Path]) -> list[list[LockedWheel]]:
    """Return the wheels of each lock, each file once."""
    known: set[str] = set()
    lists = []
    for path in locks:
        wheels = [
            wheel
            for wheel in parse_lock(read_text(path), source=str(path))
            if wheel.filename not in known
        ]
        known.update(wheel.filename for wheel in wheels)
        lists.append(wheels)
    return lists


def _is_inside(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def fetch_packages(
    packages: Mapping[LockedPackage, str], folder: Path, *, environ: Mapping[str, str]
) -> list[str]:
    """Fetch packages into their places; return a text for each that no mirror has."""
    progress = Progress(
        total_bytes=sum(package.size for package in packages),
        packages=len(packages),
        name="vendor",
        done="stored",
    )
    scratch = folder / _SCRATCH
    scratch.mkdir(exist_ok=True)
    context = tls_context(environ)
    mirrors = {archive: archive_urls(archive, environ=environ) for archive in (DEBIAN, SECURITY)}
    failed: list[str] = []
    stopped = threading.Event()

    def store(package: LockedPackage) -> None:
        permanent = f"{_SNAPSHOT}/{package.archive}/{packages[package]}"
        source = Store(
            scratch,
            scratch=scratch,
            mirrors=[*mirrors[package.archive], permanent],
            on_bytes=progress.downloaded,
            cancelled=stopped,
            context=context,
        )
        target = folder / package_path(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        wanted = (package.name, package.version, package.filename, package.size, package.sha256)
        try:
            source.fetch(RootPackage(*wanted)).replace(target)
        except ToolError as error:
            failed.append(str(error))
        progress.unpacked()

    pool = ThreadPoolExecutor(_WORKERS)
    try:
        list(pool.map(store, sorted(packages, key=lambda package: -package.size)))
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
        progress.close()
    return sorted(failed)


def fetch_wheels(
    wheels: Sequence[LockedWheel], folder: Path, *, environ: Mapping[str, str]
) -> list[str]:
    """Fetch wheels into their places; return a text for each batch that the index does not give."""
    failed: list[str] = []
    for start in range(0, len(wheels), _BATCH):
        batch = wheels[start : start + _BATCH]
        print(
            f"vendor: wheels {start + 1} to {start + len(batch)} of {len(wheels)}", file=sys.stderr
        )
        with scratch_directory(folder / _SCRATCH) as scratch:
            try:
                fetch(
                    [
                        WantedWheel(f"{wheel.name}=={wheel.version}", wheel.sha256, wheel.filename)
                        for wheel in batch
                    ],
                    pip=Path(pip.__file__).parent.parent,
                    output=scratch,
                    environ=environ,
                )
            except ToolError as error:
                failed.append(str(error))
                continue
            for wheel in batch:
                if digest_of(scratch / wheel.filename) != wheel.sha256:
                    failed.append(f"{wheel.filename}: the index gave another file")
                    continue
                target = folder / wheel_path(wheel)
                target.parent.mkdir(parents=True, exist_ok=True)
                (scratch / wheel.filename).replace(target)
    return failed


def index_pages(wheels: Iterable[LockedWheel]) -> dict[Path, bytes]:
    """Return the pages of the index (PEP 503): one of all projects, one for each."""
    projects: defaultdict[str, list[LockedWheel]] = defaultdict(list)
    for wheel in wheels:
        projects[wheel.name].append(wheel)
    pages = {Path("simple/index.html"): _page((f"{name}/", name) for name in sorted(projects))}
    for name, files in projects.items():
        pages[Path("simple", name, "index.html")] = _page(
            (f"{urllib.parse.quote(wheel.filename)}#sha256={wheel.sha256}", wheel.filename)
            for wheel in sorted(files, key=lambda wheel: wheel.filename)
        )
    return pages


def _page(links: Iterable[tuple[str, str]]) -> bytes:
    lines = [f'<a href="{html.escape(href)}">{html.escape(text)}</a><br>' for href, text in links]
    return "\n".join(["<!DOCTYPE html>", "<title>index</title>", *lines, ""]).encode()


def missing(files: Mapping[Path, str], folder: Path, say: Callable[[str], None]) -> set[Path]:
    """Return the files that are not in the mirror, or with another content."""
    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest_of, [folder / path for path in files])
    found = {path: digest for path, digest in zip(files, digests, strict=True) if digest}
    damaged = [path for path, digest in found.items() if digest != files[path]]
    for path in damaged:
        say(f"{path}: has another hash than the lock, and is fetched again")
    return set(files) - set(found) | set(damaged)


def _in_workspace(path: Path) -> Path:
    """Return a path that is not there from here as one of the workspace that `bazel run` is in."""
    return path if path.exists() else Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ""), path)


@tool("vendor")
def main(argv: Sequence[str] | None = None) -> int:
    """Fetch what is missing, write the index's pages and the manifest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in ("debian", "python"):
        parser.add_argument(
            f"--{kind}-lock",
            type=Path,
            action="append",
            default=[],
            metavar="LOCK",
            help="may be repeated",
        )
    parser.add_argument("directory", type=Path, metavar="DIR", help="made if it does not exist")
    args = parser.parse_args(argv)
    folder = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""), args.directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    packages = wanted_packages(map(_in_workspace, args.debian_lock))
    wheels = wanted_wheels(map(_in_workspace, args.python_lock))
    all_wheels = [wheel for each in wheels for wheel in each]
    files = {package_path(package): package.sha256 for package in packages}
    files |= {wheel_path(wheel): wheel.sha256 for wheel in all_wheels}

    def say(text: str) -> None:
        print(f"vendor: {text}", file=sys.stderr)

    absent = missing(files, folder, say)
    say(f"{len(files) - len(absent)} of {len(files)} files are in {folder}")
    wanted = {each: snap for each, snap in packages.items() if package_path(each) in absent}
    failed = fetch_packages(wanted, folder, environ=os.environ) if wanted else []
    # Lock by lock: the interpreters and platforms that pip is told of must not get mixed.
    for each in wheels:
        some = [wheel for wheel in each if wheel_path(wheel) in absent]
        failed += fetch_wheels(some, folder, environ=os.environ)
    if failed:
        raise ToolError("\n".join([*failed, f"{len(failed)} failed; what came stays in {folder}"]))
    pages = index_pages(all_wheels)
    (folder / "simple").mkdir(exist_ok=True)
    remove_tree(folder / _SCRATCH)
    sums = "".join(f"{digest}  {path}\n" for path, digest in sorted(files.items()))
    replace_files(
        {folder / path: text for path, text in (pages | {Path(SUMS): sums.encode()}).items()}
    )
    size = sum((folder / path).stat().st_size for path in files)
    say(
        f"{len(files)} files, {size / 1e6:.0f} MB; "
        f"build from them with DEBIAN_MIRROR={(folder / DEBIAN).as_uri()} "
        f"PIP_INDEX_URL={(folder / 'simple').as_uri()}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
