"""Two images → the differences between them, what matters most first.

Reads documents first; of the layers only those whose contents differ, or whose compressed bytes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tools.image.layer_difference import Change, Field
from tools.image.layout import Image, Layer
from tools.image.platform import platform_text, suits
from tools.size.owners import Kind, Owner
from tools.verify.config_difference import config_differences, manifest_differences
from tools.verify.difference import Difference, Weight, by_weight, moved
from tools.verify.layers import (
    Alignment,
    LayerChanges,
    Names,
    Pair,
    align,
    compare_pair,
    compression_difference,
    explain,
)
from tools.verify.packages import Packages, is_metadata, read_packages

Fetch = Callable[[Iterable[Layer]], None]
_SHOWN_PATHS = 3
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
class Side:
    """An image, how to get its layers, and whether it has a manifest."""

    image: Image
    fetch: Fetch
    has_manifest: bool = True


def choose(old: Image, candidates: Iterable[Image]) -> Image:
    """Return the image that another one is to be compared with: of most layers in common.

    The platform decides between equals; an image that claims another one is found all the same.
    """
    contents = {layer.diff_id for layer in old.layers}
    platform = platform_text(old.config)

    def likeness(image: Image) -> tuple[int, bool]:
        common = sum(layer.diff_id in contents for layer in image.layers)
        return common, suits(platform_text(image.config), platform)

    return max(candidates, key=likeness)


def compare_images(old: Side, new: Side, *, names: Names) -> list[Difference]:
    """Return what differs; raise ToolError or OSError if a layer cannot be had or read.

    Between a docker-archive, which has no manifest, and an image only contents are compared.
    """
    alignment = align(old.image, new.image)
    found = [*config_differences(old.image, new.image), *_reordered(alignment)]
    both_have_manifests = old.has_manifest and new.has_manifest
    if both_have_manifests:
        found += manifest_differences(old.image, new.image)
    packed = [pair for pair in alignment.equal if pair[0].layer.digest != pair[1].layer.digest]
    old.fetch([place.layer for place, _ in packed])
    new.fetch([place.layer for _, place in packed])
    for one, other in packed:
        how = compression_difference(one.layer, other.layer)
        if both_have_manifests:
            text = f"compression: {how}; the content is the same"
            found.append(Difference(Weight.COMPRESSION, str(other), text))
    old.fetch([pair.old.layer for pair in alignment.pairs if pair.old])
    new.fetch([pair.new.layer for pair in alignment.pairs if pair.new])
    for pair in alignment.pairs:
        changes = compare_pair(pair)
        if pair.old and pair.new:
            found += layer_differences(pair, changes, names=names)
        else:
            found.append(_lone_layer(pair, changes, names=names))
    return by_weight(found)


def _reordered(alignment: Alignment) -> Iterator[Difference]:
    if alignment.reordered:
        moves = [moved(str(old), str(new)) for old, new in alignment.reordered]
        yield Difference(Weight.LAYERS, "layers", f"order of layers: {', '.join(moves)}")


def _lone_layer(pair: Pair, found: LayerChanges, *, names: Names) -> Difference:
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
    for key, group in groups.items():
        versions = (old.versions.get(key), new.versions.get(key)) if key else (None, None)
        if key and versions[0] != versions[1]:
            text = f"{key[0]} {key[1]}: {moved(*versions)}"
            yield Difference(Weight.PACKAGE, str(pair), text, _details(pair, group.changes, names))
        else:
            yield from _by_weight(pair, group, names)
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


def _by_weight(pair: Pair, group: _Group, names: Names) -> Iterator[Difference]:
    owner = group.owner
    whose = f" ({owner.kind} {owner.name} {owner.version})" if owner else ""
    for weight in dict.fromkeys(sorted(_WEIGHTS[change.field] for change in group.changes)):
        changes = [change for change in group.changes if _WEIGHTS[change.field] is weight]
        first, *details = _details(pair, changes, names)
        yield Difference(weight, str(pair), f"{first}{whose}", tuple(details))


def _is_consequence(change: Change) -> bool:
    """Return whether the path differs because others do: lists, bytecode, directories."""
    is_directory = (change.old or change.new or "") == "dir"
    return is_metadata(change.path) or "/__pycache__/" in change.path or is_directory


def _details(pair: Pair, changes: list[Change], names: Names) -> tuple[str, ...]:
    """Return the first change in words, and the names of some more paths."""
    ordered = sorted(changes, key=_is_consequence)
    first = ordered[0]
    lines = [f"{first.path}: {explain(pair, first, names=names)}"]
    paths = list(dict.fromkeys(change.path for change in ordered[1:]))
    if paths:
        lines.append(f"also: {_some(paths)}")
    return tuple(lines)
