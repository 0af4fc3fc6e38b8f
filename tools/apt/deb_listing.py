"""Hand on what the members of packages are, so that only one action decompresses each package.

`deb_layer` reads every byte of its packages and writes a listing beside its layer; `system_layer`
takes paths, links and sonames from it and opens only the few packages of which it needs content.
A listing is a file between two actions of one build: JSON, of no format that anything else reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.apt.deb_contents import (
    Content,
    Member,
    Package,
    SharedObject,
    Wants,
    is_library_name,
    read_packages,
    shared_object,
    sorted_by_name,
)
from tools.archive.globs import Exclusions
from tools.cli import ToolError


def listing_json(packages: Iterable[Package], *, excluded: Sequence[str]) -> str:
    """Return what is to be known of packages that were read in full, without content.

    `excluded` are the globs without whose paths they were read. Raise ToolError for a library that
    is damaged.
    """
    entries = [
        {
            "architecture": package.architecture,
            "control": sorted(package.control),
            "members": [list(_fields(member, of=package)) for member in package.members.values()],
            "name": package.name,
            "source": str(package.source),
            "version": package.version,
        }
        for package in packages
    ]
    return json.dumps({"excluded": list(excluded), "packages": entries}, sort_keys=True) + "\n"


def _fields(member: Member, *, of: Package) -> Iterator[object]:
    yield from (member.path, member.kind, member.mode, member.uid, member.gid, member.target)
    if member.data is not None and is_library_name(member.path):
        library = shared_object(member.data, path=member.path, of=of.source)
        if library is not None:
            yield from (library.machine, library.soname)


def read_listed(
    listings: Iterable[Path], *, excluded: Sequence[str], wants: Wants, jobs: int | None = None
) -> list[Package]:
    """Return the packages of listings, sorted by name, with the content that is wanted.

    Raise ToolError for a listing that was made with other exclusions, and what `read_packages`
    raises.
    """
    known: list[Package] = []
    opened: list[Path] = []
    for listing in listings:
        content = json.loads(listing.read_bytes())
        if content["excluded"] != list(excluded):
            raise ToolError(f"{listing}: its layer and this one are made with different locks")
        for entry in content["packages"]:
            package = _package(entry)
            if any(wants(path) is Content.ALL for path in package.members):
                opened.append(package.source)
            else:
                known.append(package)
    read = read_packages(opened, exclusions=Exclusions(tuple(excluded)), wants=wants, jobs=jobs)
    return sorted_by_name([*known, *read])


def _package(entry: dict[str, Any]) -> Package:
    members: dict[str, Member] = {}
    for path, kind, mode, uid, gid, target, *library in entry["members"]:
        member = Member(path, kind, mode, uid, gid, target=target)
        members[path] = replace(member, library=SharedObject(*library)) if library else member
    return Package(
        name=entry["name"],
        version=entry["version"],
        architecture=entry["architecture"],
        source=Path(entry["source"]),
        control=dict.fromkeys(entry["control"], b""),
        members=members,
        dropped=frozenset(),
    )
