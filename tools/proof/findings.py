"""What a closure proof finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A defect at `path`, with the places searched and who loads the object."""

    kind: str
    path: str
    text: str
    searched: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ()
