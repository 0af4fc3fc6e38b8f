"""Which packages some requirements need on a given machine, judged from the packages' metadata.

pip evaluates environment markers with the interpreter it runs under, even when it resolves for
another machine. This walk evaluates every Requires-Dist again for the machine the lock is for, so
that neither the architecture nor the patch version of the interpreter that ran pip can show in a
lock.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.cli import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Distribution:
    """What a wheel's METADATA says: its requirements and the extras it offers."""

    name: str
    version: str
    requires_dist: tuple[str, ...]
    provides_extra: frozenset[str]


@dataclass(frozen=True)
class Root:
    """A hand-written requirement and the file that has it."""

    requirement: Requirement
    source: str


@dataclass(frozen=True)
class Needed:
    """Why a package is there: the extras asked of it and who asked."""

    extras: frozenset[str]
    via: frozenset[str]


@dataclass(frozen=True)
class Closure:
    """`needed` by package; `missing` are requirements that no distribution meets yet."""

    needed: Mapping[str, Needed]
    missing: tuple[str, ...]


def applies(
    requirement: Requirement,
    *,
    environment: Mapping[str, str],
    extras: frozenset[str] = frozenset(),
) -> bool:
    """Return whether the requirement counts in that environment with those extras."""
    if requirement.marker is None:
        return True
    return any(
        requirement.marker.evaluate({**environment, "extra": extra})
        for extra in ("", *sorted(extras))
    )


def _parse(text: str, *, distribution: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ToolError(
            f"{distribution}: its metadata holds an invalid requirement {text!r}: {error}"
        ) from error


def _check(requirement: Requirement, found: Distribution, *, via: str) -> None:
    if not requirement.specifier.contains(Version(found.version), prereleases=True):
        raise ToolError(
            f"{via} requires {requirement}, but {found.name} {found.version} was chosen"
        )
    unknown = {canonicalize_name(extra) for extra in requirement.extras} - found.provides_extra
    if unknown:
        chosen = f"{found.name} {found.version}"
        raise ToolError(
            f"{via} requires {requirement}, but {chosen} has no extra {sorted(unknown)}"
        )


def find_closure(
    roots: Sequence[Root],
    *,
    distributions: Mapping[str, Distribution],
    environment: Mapping[str, str],
) -> Closure:
    """Walk from `roots` through `distributions` (by canonical name), with markers as given.

    Raise ToolError when a chosen version or an extra contradicts what asked for it.
    """
    extras: dict[str, set[str]] = defaultdict(set)
    via: dict[str, set[str]] = defaultdict(set)
    missing: set[str] = set()
    pending = [
        (root.requirement, root.source)
        for root in roots
        if applies(root.requirement, environment=environment)
    ]
    while pending:
        requirement, source = pending.pop()
        name = canonicalize_name(requirement.name)
        found = distributions.get(name)
        if found is None:
            bare = Requirement(str(requirement))
            bare.marker = None
            missing.add(str(bare))
            continue
        _check(requirement, found, via=source)
        asked = {canonicalize_name(extra) for extra in requirement.extras}
        seen = name in via and asked <= extras[name]
        if source != name:
            via[name].add(source)
        extras[name] |= asked
        if seen:
            continue
        for text in found.requires_dist:
            needed = _parse(text, distribution=name)
            if applies(needed, environment=environment, extras=frozenset(extras[name])):
                pending.append((needed, name))
    needed_by = {
        name: Needed(extras=frozenset(extras[name]), via=frozenset(via[name])) for name in via
    }
    return Closure(needed=needed_by, missing=tuple(sorted(missing)))
