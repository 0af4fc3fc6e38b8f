"""Debian packages → their files as an image would have them, for proofs that take image files.

    packages = read_packages(debs, exclusions=policy.exclusions)
    verdict = judge(merge(packages, architecture="amd64"))

Reads the archives; no script runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tools.apt.deb_contents import Member, read_package
from tools.archive.globs import Exclusions
from tools.cli import ToolError
from tools.image.image_files import File, ImageFiles, describe, is_linker_file
from tools.image.layout import Image
from tools.image.tree import Entry, Tree, split
from tools.linux.architectures import ARCHITECTURES

_NOTHING = Exclusions(())


@dataclass(frozen=True)
class PackageFiles:
    """One package: its entries and regular files by path in the image, and the paths left out."""

    name: str
    entries: Mapping[str, Entry] = field(repr=False)
    files: Mapping[str, File] = field(repr=False)
    dropped: frozenset[str] = field(repr=False)


def read_packages(
    debs: Iterable[Path], *, exclusions: Exclusions = _NOTHING
) -> tuple[PackageFiles, ...]:
    """Return the packages in the order given. Raise ToolError naming a damaged package or object.

    Unpacking is nearly all the work, and lzma lets other threads run meanwhile.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(lambda deb: _read(deb, exclusions), debs))


def merge(
    packages: Iterable[PackageFiles], *, architecture: str, links: Mapping[str, str] | None = None
) -> ImageFiles:
    """Return the files of packages in one root, with the root's own links and some more `links`."""
    if architecture not in ARCHITECTURES:
        raise ToolError(
            f"architecture {architecture!r} is not known ({', '.join(ARCHITECTURES)} are)"
        )
    tree = Tree()
    files: dict[str, File] = {}
    for package in packages:
        for path, entry in package.entries.items():
            tree.put(split(path), entry)
        files |= {f"/{path}": file for path, file in package.files.items()}
    root = {name: f"usr/{name}" for name in ARCHITECTURES[architecture].merged}
    root = {path: target for path, target in root.items() if tree.lookup(f"/{target}")}
    for path, target in {**root, **(links or {})}.items():
        tree.put(split(path), Entry(kind="symlink", mode=0o777, linkname=target))
    image = Image(
        digest="", media_type="", manifest={}, config={"architecture": architecture}, layers=()
    )
    return ImageFiles(image=image, tree=tree, files=files)


def _read(deb: Path, exclusions: Exclusions) -> PackageFiles:
    package = read_package(deb, exclusions=exclusions)
    files: dict[str, File] = {}
    for path, member in package.members.items():
        # A hard link is the same file under another name.
        real = package.members[member.target] if member.kind == "hardlink" else member
        if real.data is not None:
            files[path] = _file(path, real.data, of=deb)
    return PackageFiles(
        name=package.name,
        entries={path: _entry(member) for path, member in package.members.items()},
        files=files,
        dropped=package.dropped,
    )


def _entry(member: Member) -> Entry:
    if member.kind == "symlink":
        return Entry(kind="symlink", mode=member.mode, linkname=member.target)
    return Entry(kind="dir" if member.kind == "dir" else "file", mode=member.mode)


def _file(path: str, data: bytes, *, of: Path) -> File:
    name = f"/{path}"
    try:
        return describe(name, data, keep=is_linker_file(name))
    except ToolError as error:
        raise ToolError(f"{of}: {error}") from error
