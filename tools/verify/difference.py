"""What a comparison of two images finds: sentences, and how much each matters."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from tools.registry.errors import printable


class Weight(enum.IntEnum):
    """How much a difference matters; the least number matters most."""

    PLATFORM = enum.auto()
    LAYERS = enum.auto()  # one too many, one too few, another order
    PACKAGE = enum.auto()
    CONFIG = enum.auto()  # what a container's process gets
    CONTENT = enum.auto()
    ATTRIBUTES = enum.auto()  # mode, owner, extended attributes
    INCIDENTAL = enum.auto()  # times, order, spelling
    COMPRESSION = enum.auto()
    DOCUMENT = enum.auto()  # history, annotations, media types


@dataclass(frozen=True)
class Difference:
    """One difference: where it is, what it is, and where to look first.

    Names and values of an image may hold anything; what could steer a terminal becomes "?".
    """

    weight: Weight
    where: str
    text: str
    details: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Replace what cannot be printed."""
        object.__setattr__(self, "where", printable(self.where))
        object.__setattr__(self, "text", printable(self.text))
        object.__setattr__(self, "details", tuple(map(printable, self.details)))


def by_weight(found: Iterable[Difference]) -> list[Difference]:
    """Return differences, what matters most first; of equal weight in the order given."""
    return sorted(found, key=lambda difference: difference.weight)


def moved(old: object, new: object) -> str:
    """Return `old → new` as people read it; None is nothing."""
    return f"{_shown(old)} → {_shown(new)}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else repr(value)
