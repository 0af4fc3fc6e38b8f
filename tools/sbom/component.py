"""What an image is made of: a record for each Debian package, wheel, and library in a wheel."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from tools.cli import ToolError, parse_json

_ADDRESS = re.compile(r"\s*<([^<>]+)>\s*$")


@dataclass(frozen=True)
class Party:
    """A person or organisation, by name, and where to reach it: an e-mail or web address."""

    name: str
    address: str | None = None

    @property
    def email(self) -> str | None:
        """The address, if it is one of e-mail."""
        return self.address if self.address and "@" in self.address else None


@dataclass(frozen=True)
class Component:
    """One component. `ref` is unique in an image; whatever is not known is None, never a guess."""

    ref: str
    name: str
    version: str | None = None
    purl: str | None = None
    cpe: str | None = None
    # The file it comes in, by name, and that file's digests in hexadecimal: the .deb, the .whl, the
    # library; of several libraries, and of what was compiled into one, the .whl.
    file: str | None = None
    sha256: str | None = None
    sha512: str | None = None
    # An SPDX expression; the text behind each LicenseRef in it; what the package itself calls its
    # licences.
    license: str | None = None
    license_texts: tuple[tuple[str, str], ...] = ()
    license_names: tuple[str, ...] = ()
    copyright: str | None = None
    # The source package it was built from, "ffmpeg 7:5.1.9-0+deb12u1".
    source: str | None = None
    homepage: str | None = None
    # "Name <address>", as packages write it.
    maintainer: str | None = None
    # `ref` of the component it is inside, and the files that show it.
    parent: str | None = None
    files: tuple[str, ...] = ()
    # What it needs and provides, in the words of its own metadata, and which components that means.
    needs: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    # Why something is not known.
    notes: tuple[str, ...] = ()
    container: bool = False

    @property
    def supplier(self) -> Party | None:
        """Who supplies it; the home page stands in for an address, and for a name."""
        stated = (self.maintainer or "").strip()
        address = _ADDRESS.search(stated)
        name = _ADDRESS.sub("", stated).strip(' "')
        where = address[1] if address else self.homepage
        if not name and not where:
            return None
        return Party(name or str(where), where)


_LISTS = {field.name for field in fields(Component) if str(field.type).startswith("tuple")}


def write_components(components: Sequence[Component]) -> bytes:
    """Return the records as JSON, by ref. Raise ToolError when two have the same ref."""
    ordered = unique(components)
    text = json.dumps([asdict(each) for each in ordered], indent=1, sort_keys=True)
    return text.encode() + b"\n"


def unique(components: Iterable[Component]) -> list[Component]:
    """Return the components by ref. Raise ToolError when two have the same ref."""
    ordered = sorted(components, key=lambda each: each.ref)
    for one, other in itertools.pairwise(ordered):
        if one.ref == other.ref:
            raise ToolError(f"{one.ref}: two components have this name; is a package given twice?")
    return ordered


def read_components(path: Path) -> tuple[Component, ...]:
    """Read what `write_components` wrote; raise ToolError."""
    try:
        return tuple(
            Component(**{name: _tuples(name, value) for name, value in each.items()})
            for each in parse_json(path.read_bytes())
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise ToolError(f"{path}: is not a list of components: {error!r}") from error


def _tuples(name: str, value: Any) -> Any:
    if name not in _LISTS or not isinstance(value, list):
        return value
    return tuple(tuple(each) if isinstance(each, list) else each for each in value)


class Digests(NamedTuple):
    """Digests of a file, in hexadecimal."""

    sha256: str
    sha512: str


def digests(content: bytes) -> Digests:
    """Return the digests of a file's content."""
    return Digests(hashlib.sha256(content).hexdigest(), hashlib.sha512(content).hexdigest())
