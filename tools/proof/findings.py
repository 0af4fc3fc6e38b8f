"""What a closure proof finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something at `path` that does not hold, with where was searched and who loads the object."""

    kind: str
    path: str
    text: str
    searched: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ()
