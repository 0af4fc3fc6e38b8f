"""The changes inside a layer → differences in words: by package, then by file.

A package whose version moved is one difference, whatever files it brought along. Other changes are
told by the package that owns the path, or as files that were built for the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tools.image.layer_difference import Change, Field
from tools.size.owners import Kind, Owner
from tools.verify.difference import Difference, Weight, moved
from tools.verify.layers import LayerChanges, Names, Pair, content_place, explain
from tools.verify.packages import Packages, is_metadata, read_packages

_SHOWN_PATHS = 3
_LOCATED = 3  # Contents of a layer that are read again to see where they differ.
_WEIGHTS = {
    Field.PRESENCE: Weight.CONTENT,
    Field.TYPE: Weight.CONTENT,
    Field.CONTENT: Weight.CONTENT,
    Field.TARGET: Weight.CONTENT,
    Field.MODE: Weight.ATTRIBUTES,
    Field.OWNER: Weight.ATTRIBUTES,
    Field.XATTR: Weight.ATTRIBUTES,
    Field.OWNER_NAME: Weight.INCIDENTAL,
    Field.TIME: Weight.INCIDENTAL,
    Field.ORDER: Weight.INCIDENTAL,
}


@dataclass(frozen=True)
class _Group:
    """The changes of one owner in one layer."""

    owner: Owner | None
    changes: list[Change]


def layer_differences(pair: Pair, found: LayerChanges, *, names: Names) -> Iterator[Difference]:
    """Yield the differences of a pair: by package where versions differ, then by owner."""
    old, new = read_packages(found.old), read_packages(found.new)
    groups: dict[tuple[Kind, str] | None, _Group] = {}
    for change, owner in _owned(found, old, new):
        key = (owner.kind, owner.name) if owner else None
        groups.setdefault(key, _Group(owner, [])).changes.append(change)
    words = _Words(pair, names)
    for key, group in groups.items():
        versions = (old.versions.get(key), new.versions.get(key)) if key else (None, None)
        if key and versions[0] != versions[1]:
            text = f"{key[0]} {key[1]}: {moved(*versions)}"
            details = words.details(group.changes, located=False)
            yield Difference(Weight.PACKAGE, str(pair), text, details)
        else:
            yield from _by_weight(group, words)
    if not found.changes:
        text = "the tar spells the same members differently: format or padding of its headers"
        yield Difference(Weight.INCIDENTAL, str(pair), text)
    for problem in dict.fromkeys((*old.problems, *new.problems)):
        yield Difference(Weight.CONTENT, str(pair), f"package metadata cannot be read: {problem}")


def _owned(
    found: LayerChanges, old: Packages, new: Packages
) -> Iterator[tuple[Change, Owner | None]]:
    """Yield each change with the owner of its path; a directory is whose its first file is."""
    owners = {change: _owner(change, found, old, new) for change in found.changes}
    below: dict[str, Owner | None] = {}
    for change, owner in owners.items():
        if not _is_directory(change, found):
            for parent in PurePosixPath(change.path).parents:
                below.setdefault(str(parent), owner)
    for change, owner in owners.items():
        yield change, owner or (below.get(change.path) if _is_directory(change, found) else None)


def _is_directory(change: Change, found: LayerChanges) -> bool:
    members = [side.members.get(change.path) for side in (found.old, found.new)]
    return any(member is not None and member.header.kind == "dir" for member in members)


def _owner(change: Change, found: LayerChanges, old: Packages, new: Packages) -> Owner | None:
    for packages, side in ((new, found.new), (old, found.old)):
        member = side.members.get(change.path)
        owner = packages.owner(change.path, member.header.kind) if member else None
        if owner is not None:
            return owner
    return None


class _Words:
    """Says changes of one layer in words; only the first contents are located."""

    def __init__(self, pair: Pair, names: Names) -> None:
        self.where = str(pair)
        self._pair = pair
        self._names = names
        self._left = _LOCATED

    def details(self, changes: list[Change], *, located: bool = True) -> tuple[str, ...]:
        """Return the first change in words, and the names of some more paths."""
        first, *others = sorted(changes, key=_is_consequence)
        place = ""
        if located and first.field is Field.CONTENT and self._left:
            self._left -= 1
            place = content_place(self._pair, first)
        lines = [f"{first.path}: {explain(first, names=self._names, place=place)}"]
        paths = list(dict.fromkeys(change.path for change in others))
        return (*lines, f"also: {_some(paths)}") if paths else tuple(lines)


def _by_weight(group: _Group, words: _Words) -> Iterator[Difference]:
    owner = group.owner
    whose = f" ({owner.kind} {owner.name} {owner.version})" if owner else ""
    for weight in dict.fromkeys(sorted(_WEIGHTS[change.field] for change in group.changes)):
        changes = [change for change in group.changes if _WEIGHTS[change.field] is weight]
        first, *details = words.details(changes)
        yield Difference(weight, words.where, f"{first}{whose}", tuple(details))


def _is_consequence(change: Change) -> bool:
    """Return whether the path differs because others do: lists, bytecode, directories."""
    is_directory = (change.old or change.new or "") == "dir"
    return is_metadata(change.path) or "/__pycache__/" in change.path or is_directory


def lone_layer(pair: Pair, found: LayerChanges, *, names: Names) -> Difference:
    """Return the difference that a layer makes which only one of the images has."""
    which, members = (names.old, found.old) if pair.new is None else (names.new, found.new)
    text = f"the whole layer is in {which} only, {pair.place.layer.size} bytes"
    versions = read_packages(members).versions
    listed = [f"{kind} {name} {version}" for (kind, name), version in versions.items()]
    paths = list(members.members)
    return Difference(
        Weight.LAYERS, str(pair), text, tuple(map(_some, filter(None, (listed, paths))))
    )


def _some(texts: Sequence[str]) -> str:
    """Return the first of some texts, and how many more there are."""
    more = len(texts) - _SHOWN_PATHS
    return ", ".join(texts[:_SHOWN_PATHS]) + (f" and {more} more" if more > 0 else "")
