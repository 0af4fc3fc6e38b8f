"""What an image is made of: a record for each Debian package, wheel, and library in a wheel."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.cli import ToolError


@dataclass(frozen=True)
class Component:
    """One component. `ref` is unique in an image; whatever is not known is None, never a guess."""

    ref: str
    name: str
    version: str | None = None
    purl: str | None = None
    cpe: str | None = None
    # Of the .deb, .whl or library file, in hexadecimal.
    sha256: str | None = None
    # An SPDX expression, and what the package itself calls its licences.
    license: str | None = None
    license_names: tuple[str, ...] = ()
    # The source package it was built from, "ffmpeg 7:5.1.9-0+deb12u1".
    source: str | None = None
    homepage: str | None = None
    maintainer: str | None = None
    # `ref` of the component it is inside, and the files that show it.
    parent: str | None = None
    files: tuple[str, ...] = ()


def write_components(components: Sequence[Component]) -> bytes:
    """Return the records as JSON, by ref. Raise ToolError when two have the same ref."""
    ordered = sorted(components, key=lambda each: each.ref)
    for one, other in itertools.pairwise(ordered):
        if one.ref == other.ref:
            raise ToolError(f"{one.ref}: two components have this name; is a package given twice?")
    text = json.dumps([asdict(each) for each in ordered], indent=1, sort_keys=True)
    return text.encode() + b"\n"


def read_components(path: Path) -> tuple[Component, ...]:
    """Read what `write_components` wrote; raise ToolError."""
    try:
        return tuple(
            Component(
                **{
                    **each,
                    "license_names": tuple(each["license_names"]),
                    "files": tuple(each["files"]),
                }
            )
            for each in json.loads(path.read_bytes())
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{path}: is not a list of components: {error!r}") from error
