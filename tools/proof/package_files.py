"""Debian packages → their files as an image would have them, for proofs that take image files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.apt.deb_contents import Member, read_package
from tools.apt.paths import Exclusions
from tools.cli import ToolError
from tools.image.image_files import File, ImageFiles, describe, is_linker_file
from tools.image.layout import Image
from tools.image.tree import Entry, Tree, split
from tools.linux.architectures import ARCHITECTURES

_NOTHING = Exclusions(())


def read_package_files(
    debs: Iterable[Path],
    *,
    architecture: str,
    exclusions: Exclusions = _NOTHING,
    links: Mapping[str, str] | None = None,
) -> ImageFiles:
    """Return the files of packages, usr-merged, with the links of the root and some more `links`.

    Raise ToolError, naming package and path, for a damaged package or object.
    """
    if architecture not in ARCHITECTURES:
        raise ToolError(
            f"architecture {architecture!r} is not known ({', '.join(ARCHITECTURES)} are)"
        )
    tree = Tree()
    files: dict[str, File] = {}

    def read(deb: Path) -> dict[str, tuple[Member, File | None]]:
        members = read_package(deb, exclusions=exclusions).members
        return {path: (member, _file(member, of=deb)) for path, member in members.items()}

    # Unpacking is nearly all the work, and lzma lets other threads run meanwhile.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for members in pool.map(read, debs):
            for path, (member, file) in members.items():
                kind = "file" if member.kind == "hardlink" else member.kind
                target = member.target if member.kind == "symlink" else ""
                tree.put(split(path), Entry(kind=kind, mode=member.mode, linkname=target))
                if member.kind == "hardlink":
                    file = members[member.target][1]  # noqa: PLW2901 - the same file, another name
                if file is not None:
                    files[f"/{path}"] = file
    merged = {name: f"usr/{name}" for name in ARCHITECTURES[architecture].merged}
    merged = {path: target for path, target in merged.items() if tree.lookup(f"/{target}")}
    for path, target in {**merged, **(links or {})}.items():
        tree.put(split(path), Entry(kind="symlink", mode=0o777, linkname=target))
    image = Image(
        digest="", media_type="", manifest={}, config={"architecture": architecture}, layers=()
    )
    return ImageFiles(image=image, tree=tree, files=files)


def _file(member: Member, *, of: Path) -> File | None:
    if member.kind != "file" or member.data is None:
        return None
    name = f"/{member.path}"
    try:
        return describe(name, member.data, keep=is_linker_file(name))
    except ToolError as error:
        raise ToolError(f"{of}: {error}") from error
