"""Debian version order and the operators of relationship fields.

The order is dpkg's (deb-version(7)), taken from python-debian's pure-Python class: its default
class would switch to libapt where that happens to be installed, and a lock must not depend on
what a machine has.
"""

from __future__ import annotations

import enum
import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from debian.debian_support import NativeVersion

_MAX_LENGTH = 1024
_REBUILD = re.compile(r"\+b\d+$")


class Operator(enum.Enum):
    """The comparison operators of Debian Policy 7.1; the two obsolete ones are not accepted."""

    EARLIER = "<<"
    EARLIER_EQUAL = "<="
    EQUAL = "="
    LATER_EQUAL = ">="
    LATER = ">>"


@functools.lru_cache(maxsize=65536)
def _parsed(version: str) -> NativeVersion:
    if len(version) > _MAX_LENGTH:  # its regular expressions take quadratic time
        raise ValueError(f"a version of {len(version)} characters: {version[:40]}…")
    # Repository rules read indexes, without any wheel.
    from debian.debian_support import NativeVersion

    return NativeVersion(version)


def source_version(version: str) -> str:
    """Return the source's version of a package that was rebuilt without a new source (+b1)."""
    return _REBUILD.sub("", version)


def compare(left: str, right: str) -> int:
    """Return a negative number, zero or a positive number as `left` is older, equal or newer.

    Raise ValueError when either is not a Debian version.
    """
    older = _parsed(left)
    newer = _parsed(right)
    return (older > newer) - (older < newer)


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
