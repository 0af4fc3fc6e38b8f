"""Why each package of an image is there: the chain from a request with its reason, and ELF needs.

Debian: bookworm.yaml asks for a package and says why, the lock says what depends on what. Python:
requirements.in asks, each lock entry names who wants it. Chains are shortest ones. ELF needs are
those that the image's own objects have: who needs which library, and the path from a program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from tools.apt.intent import Intent
from tools.apt.lockfile import LockedPackage
from tools.elf.linker import find_linker, load
from tools.image.image_files import ImageFiles
from tools.size.owners import Owner, Owners
from tools.wheels.lockfile import LockedWheel

_REQUEST = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)[^#]*?(?:#\s*(?P<reason>.*))?")
_CONTINUED = re.compile(r"\s+#\s*(?P<reason>.*)")
_INPUT = re.compile(r"requirements.*\.in")
REMEMBERED = 5


@dataclass(frozen=True)
class Why:
    """The chain of names from what was asked for to the package, and why that was asked for."""

    chain: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Need:
    """One object's need: its path, the name it asks for, the library's path."""

    object: str
    name: str
    library: str


@dataclass(frozen=True)
class Needs:
    """Who needs a package's libraries: the path from a program to the first of them, some of the
    objects that ask directly, and how many there are.
    """

    path: tuple[str, ...]
    direct: tuple[Need, ...]
    count: int


def debian_reasons(intent: Intent, packages: Mapping[str, LockedPackage]) -> dict[str, Why]:
    """Return why each of `packages`, those of the image, is there.

    What the image's groups do not ask for, a group of tools does: a variant may have one as well.
    """
    edges = {name: package.depends for name, package in packages.items()}
    found: dict[str, Why] = {}
    for groups in (intent.image, intent.tools):
        asked = {
            name: reason
            for group in groups
            for name, reason in group.packages.items()
            if name in packages and name not in found
        }
        found = {**_chains(asked, edges), **found}
    return {name: why for name, why in found.items() if name in packages}


def python_reasons(requirements: str, wheels: Sequence[LockedWheel]) -> dict[str, Why]:
    """Return why each wheel is there; `requirements` is the text of requirements.in."""
    asked = requested(requirements)
    edges: dict[str, list[str]] = {}
    for wheel in wheels:
        for parent in wheel.via:
            if not _INPUT.fullmatch(parent):
                edges.setdefault(parent, []).append(wheel.name)
    names = {wheel.name for wheel in wheels}
    return _chains({name: asked[name] for name in asked if name in names}, edges)


def requested(requirements: str) -> dict[str, str]:
    """Return the comment of each line of a requirements.in, with its continuations."""
    found: dict[str, str] = {}
    last = ""
    for line in requirements.splitlines():
        request, continued = _REQUEST.fullmatch(line), _CONTINUED.fullmatch(line)
        if request is not None:
            last = canonicalize_name(request["name"])
            found[last] = (request["reason"] or "").strip()
        elif continued is not None and last:
            found[last] = f"{found[last]} {continued['reason'].strip()}"
        else:
            last = ""
    return found


def _chains(asked: Mapping[str, str], edges: Mapping[str, Iterable[str]]) -> dict[str, Why]:
    found = {name: Why((name,), reason) for name, reason in asked.items()}
    waiting = list(found)
    for name in waiting:  # grows meanwhile: breadth first, so chains are shortest
        for child in sorted(edges.get(name, ())):
            if child not in found:
                found[child] = Why((*found[name].chain, child), found[name].reason)
                waiting.append(child)
    return found


def elf_needs(image: ImageFiles, owners: Owners) -> dict[Owner, Needs]:
    """Return the needs that other packages' objects have of each package's libraries.

    Raise ToolError when the image has no dynamic linker that can be replayed.
    """
    edges = _object_graph(image)
    origin = _from_programs(image, edges)
    direct: dict[Owner, list[Need]] = {}
    for path, needs in edges.items():
        for need in needs:
            owner = owners.file(need.library)
            if owner is not None and owner != owners.file(path):
                direct.setdefault(owner, []).append(need)
    result = {}
    for owner, found in direct.items():
        reached = [origin[need.library] for need in found if need.library in origin]
        nothing: tuple[str, ...] = ()
        shortest = min(reached, key=lambda each: (len(each), each), default=nothing)
        ordered = sorted(found, key=lambda need: (need.library, need.object))
        result[owner] = Needs(shortest, tuple(ordered[:REMEMBERED]), len(ordered))
    return result


def _object_graph(image: ImageFiles) -> dict[str, list[Need]]:
    linkers = {}
    graph: dict[str, list[Need]] = {}
    for path, file in sorted(image.files.items()):
        elf = file.elf
        if elf is None or not elf.dynamic or elf.machine != image.machine:
            continue
        if elf.interpreter not in linkers:
            linkers[elf.interpreter] = find_linker(
                image, machine=image.machine, interpreter=elf.interpreter
            )
        loading = load(path, files=image, linker=linkers[elf.interpreter])
        graph[path] = [
            Need(path, name, library.real)
            for by, name, library in loading.needs
            if by is loading.order[0]
        ]
    return graph


def _from_programs(
    image: ImageFiles, graph: Mapping[str, Sequence[Need]]
) -> dict[str, tuple[str, ...]]:
    """Return the shortest path to each library, from programs or else from what they may open."""
    wanted = {need.library for needs in graph.values() for need in needs}
    programs = [path for path in graph if (elf := image.elf(path)) is not None and elf.interpreter]
    opened = [path for path in graph if path not in wanted and path not in programs]
    found: dict[str, tuple[str, ...]] = {}
    for roots in (programs, opened):
        waiting = [root for root in roots if root not in found]
        found |= {root: (root,) for root in waiting}
        for path in waiting:
            for need in graph.get(path, ()):
                if need.library not in found:
                    found[need.library] = (*found[path], need.library)
                    waiting.append(need.library)
    return found
