"""A layer's members → the Debian packages and wheels in it, and whose each path is."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.apt.versions import source_version
from tools.image.image_files import File, ImageFiles
from tools.image.layer_difference import Members
from tools.image.layout import Image
from tools.image.tree import WHITEOUT, Entry, Tree, TreeError, split
from tools.proof import debian_inventory, python_inventory
from tools.size.owners import Kind, Owner, Owners

_STANZAS = debian_inventory.DIRECTORY
_SOURCE = re.compile(r"^Source: (\S+)(?: \((\S+)\))?\s*$", re.MULTILINE)
_NO_IMAGE = Image(digest="", media_type="", manifest={}, config={}, layers=())


@dataclass(frozen=True)
class Source:
    """The source package of a Debian package; several packages of one have one changelog."""

    name: str
    version: str


@dataclass(frozen=True)
class Packages:
    """What is installed by a layer: versions by kind and name, and the owners of its paths.

    `sources` are those of Debian packages. `problems` are errors of metadata that cannot be read;
    its packages are missing here.
    """

    versions: Mapping[tuple[Kind, str], str]
    sources: Mapping[str, Source]
    problems: tuple[str, ...]
    _owners: Owners = field(repr=False)

    def owner(self, path: str, kind: str) -> Owner | None:
        """Return whose the member at a path is; None for what was built for the image."""
        return self._owners.link(path) if kind == "symlink" else self._owners.file(path)


def is_metadata(path: str) -> bool:
    """Return whether the content of this file says what is installed."""
    return debian_inventory.is_metadata(path) or python_inventory.is_metadata(path)


def read_packages(members: Members) -> Packages:
    """Read what a layer says of its packages; its metadata must have been kept."""
    tree = Tree()
    files: dict[str, File] = {}
    for path, member in members.members.items():
        header = member.header
        if path.rpartition("/")[2].startswith(WHITEOUT):
            continue
        kind = "file" if header.kind == "hardlink" else header.kind
        try:
            target = header.linkname if kind == "symlink" else ""
            tree.put(split(path[1:]), Entry(kind=kind, mode=header.mode, linkname=target))
        except TreeError:
            continue  # A hostile name: compared like any other, but nothing is read from it.
        if path in members.kept:
            data = members.kept[path]
            files[path] = File(size=len(data), content=data)
    image = ImageFiles(_NO_IMAGE, tree, files)
    problems: list[str] = []

    def note(error: Exception) -> None:
        problems.append(str(error))

    debian = debian_inventory.read(image, unreadable=note)
    with tempfile.TemporaryDirectory() as scratch:
        python = python_inventory.read(image, Path(scratch), unreadable=note)
    owners = Owners(image, debian, python)
    versions = {(owner.kind, owner.name): owner.version for owner in owners.known}
    sources = {
        name: source_of(name, package.version, files[f"{_STANZAS}/{name}"].content or b"")
        for name, package in debian.packages.items()
    }
    return Packages(versions, sources, tuple(problems), owners)


def source_of(name: str, version: str, stanza: bytes) -> Source:
    """Return the source package that a stanza names: `Source: NAME (VERSION)`, both optional."""
    match = _SOURCE.search(stanza.decode("utf-8", "replace"))
    plain = source_version(version)
    return Source(match[1], match[2] or plain) if match else Source(name, plain)
