"""Debian version order and the operators of relationship fields.

The order is dpkg's (deb-version(7)), on the standard library alone, since repository rules compare
versions before any wheel is there. //tools/fuzz holds it to python-debian's.
"""

import enum
import functools
import re

_MAX_LENGTH = 1024
_REBUILD = re.compile(r"\+b\d+$")
_PARTS = re.compile(r"(\D*)(\d*)", re.ASCII)
_VERSION = re.compile(r"(?:([0-9]+):)?([A-Za-z0-9.+:~-]+)", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9.+~]+", re.ASCII)

_Key = list[tuple[list[int], int]]


class Operator(enum.Enum):
    """The comparison operators of Debian Policy 7.1; the two obsolete ones are not accepted."""

    EARLIER = "<<"
    EARLIER_EQUAL = "<="
    EQUAL = "="
    LATER_EQUAL = ">="
    LATER = ">>"


@functools.lru_cache(maxsize=65536)
def _key(version: str) -> tuple[int, _Key, _Key]:
    """Return what sorts as the version does; raise ValueError if it is none (Policy 5.6.12)."""
    if len(version) > _MAX_LENGTH:
        raise ValueError(f"a version of {len(version)} characters: {version[:40]}…")
    found = _VERSION.fullmatch(version)
    epoch, rest = found.groups() if found else (None, "")
    upstream, dash, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    if not upstream or (dash and not _REVISION.fullmatch(revision)) or (not epoch and ":" in rest):
        raise ValueError(f"{version!r} is not a Debian version")
    return int(epoch or 0), _part(upstream), _part(revision)


def _part(text: str) -> _Key:
    return [([*map(_order, other), 0], int(digits or 0)) for other, digits in _PARTS.findall(text)]


def _order(character: str) -> int:
    """Return the place of a character: "~" before the end of a text, which is 0, then letters."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def source_version(version: str) -> str:
    """Return the source's version of a package that was rebuilt without a new source (+b1)."""
    return _REBUILD.sub("", version)


def compare(left: str, right: str) -> int:
    """Return a negative number, zero or a positive number as `left` is older, equal or newer.

    Raise ValueError when either is not a Debian version.
    """
    one, other = _key(left), _key(right)
    return (one > other) - (one < other)


def satisfies(version: str, operator: Operator, wanted: str) -> bool:
    """Return whether `version OPERATOR wanted` holds, as in `libc6 (>= 2.36)`."""
    order = compare(version, wanted)
    match operator:
        case Operator.EARLIER:
            return order < 0
        case Operator.EARLIER_EQUAL:
            return order <= 0
        case Operator.EQUAL:
            return order == 0
        case Operator.LATER_EQUAL:
            return order >= 0
        case Operator.LATER:
            return order > 0
