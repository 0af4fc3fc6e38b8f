"""Two images → what changed between them: packages, sizes, files, config, as a report.

Equal layers are never read; what is in them is in both images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.image.layer_difference import Member, Members, differences
from tools.image.platform import normalize, platform_text
from tools.registry.errors import printable
from tools.size.owners import Kind
from tools.verify.changelogs import Changelogs, Installed, Move
from tools.verify.config_difference import config_differences, manifest_differences
from tools.verify.difference import by_weight
from tools.verify.file_kinds import file_kind
from tools.verify.images import Side
from tools.verify.layers import Alignment, Pair, align, compare_pairs
from tools.verify.packages import Packages, read_packages

SCHEMA = "image_diff/1"


@dataclass(frozen=True)
class ImageRow:
    """One of the two images; `size` in bytes, as a registry stores its layers."""

    name: str
    platform: str
    digest: str
    size: int


@dataclass(frozen=True)
class PackageRow:
    """A package that moved, was added (`old` is None) or removed (`new` is None).

    `cves` are those that the changelog names between the versions, None where it is not at hand;
    if `back`, the new version is the older one, and lacks those fixes.
    """

    kind: str
    name: str
    old: str | None
    new: str | None
    cves: tuple[str, ...] | None = None
    back: bool = False

    @property
    def unknown(self) -> bool:
        """Whether there should be a changelog, and there is none."""
        moved = self.old is not None and self.new is not None
        return moved and self.cves is None and self.kind == Kind.DEBIAN


@dataclass(frozen=True)
class LayerRow:
    """A layer's stored sizes in bytes, None on the side that has none."""

    name: str
    old: int | None
    new: int | None
    same: bool


@dataclass
class FilesRow:
    """How many files of a kind came, went and changed, and by how many bytes they grew."""

    kind: str
    added: int = 0
    removed: int = 0
    changed: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Report:
    """All that changed from the old image to the new one; `config` are sentences."""

    old: ImageRow
    new: ImageRow
    packages: tuple[PackageRow, ...]
    layers: tuple[LayerRow, ...]
    files: tuple[FilesRow, ...]
    paths: tuple[tuple[str, str], ...] = field(repr=False)
    config: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        changed = self.packages or self.files or self.config
        return not changed and all(layer.same for layer in self.layers)

    def json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"schema": SCHEMA, "same": self.same, **dataclasses.asdict(self)}


def diff_images(old: Side, new: Side, *, names: tuple[str, str], changelogs: Changelogs) -> Report:
    """Compare two images; raise ToolError or OSError if a layer cannot be had or read."""
    alignment = align(old.image, new.image)
    old.fetch([pair.old.layer for pair in alignment.pairs if pair.old])
    new.fetch([pair.new.layer for pair in alignment.pairs if pair.new])
    sides = _merged(alignment.pairs)
    installed = [read_packages(side) for side in sides]
    config = list(config_differences(old.image, new.image))
    if old.has_manifest and new.has_manifest:
        config += manifest_differences(old.image, new.image)
    problems = (*installed[0].problems, *installed[1].problems)
    files, paths = _files(*sides)
    packages = tuple(_packages(*installed, changelogs=changelogs))
    notes = [
        f"package metadata cannot be read: {printable(each)}" for each in dict.fromkeys(problems)
    ]
    unknown = [row.name for row in packages if row.unknown]
    if unknown:
        notes.append(
            f"no changelog of {', '.join(unknown)}: these versions are of no .deb file of this "
            "checkout, or of a revision that was built"
        )
    return Report(
        old=_image_row(names[0], old),
        new=_image_row(names[1], new),
        packages=packages,
        layers=tuple(_layers(alignment)),
        files=files,
        paths=paths,
        config=tuple(each.text for each in by_weight(config)),
        notes=tuple(notes),
    )


def _image_row(name: str, side: Side) -> ImageRow:
    image = side.image
    size = sum(layer.size for layer in image.layers)
    platform = printable(normalize(platform_text(image.config)))
    return ImageRow(name, platform, image.digest, size)


def _merged(pairs: Sequence[Pair]) -> tuple[Members, Members]:
    """Return what the differing layers of each image hold; a higher layer's member counts."""
    olds: list[tuple[int, Members]] = []
    news: list[tuple[int, Members]] = []
    for pair, found in zip(pairs, compare_pairs(pairs), strict=True):
        if pair.old:
            olds.append((pair.old.number, found.old))
        if pair.new:
            news.append((pair.new.number, found.new))
    return _union(olds), _union(news)


def _union(found: list[tuple[int, Members]]) -> Members:
    members: dict[str, Member] = {}
    kept: dict[str, bytes] = {}
    for _, each in sorted(found, key=lambda item: item[0]):
        members |= each.members
        kept |= each.kept
    return Members(members, kept)


def _packages(old: Packages, new: Packages, *, changelogs: Changelogs) -> Iterable[PackageRow]:
    moves = []
    for kind, name in old.versions.keys() & new.versions.keys():
        before, after = old.versions[kind, name], new.versions[kind, name]
        if kind is Kind.DEBIAN and before != after:
            one = Installed(before, old.sources[name])
            moves.append(Move(name, one, Installed(after, new.sources[name])))
    cves: Mapping[str, tuple[str, ...] | None] = changelogs.cves(moves)
    for kind, name in sorted(old.versions.keys() | new.versions.keys()):
        before_or_none, after_or_none = (side.versions.get((kind, name)) for side in (old, new))
        if before_or_none != after_or_none:
            named = cves.get(name) if kind is Kind.DEBIAN else None
            back = any(move.name == name and not move.forward for move in moves)
            shown = [each and printable(each) for each in (before_or_none, after_or_none)]
            yield PackageRow(str(kind), printable(name), shown[0], shown[1], named, back)


def _layers(alignment: Alignment) -> Iterable[LayerRow]:
    rows = [(Pair(*pair), True) for pair in alignment.equal]
    rows += [(pair, False) for pair in alignment.pairs]
    for pair, same in sorted(rows, key=lambda row: row[0].place.number):
        sizes = [place.layer.size if place else None for place in (pair.old, pair.new)]
        yield LayerRow(pair.place.name, sizes[0], sizes[1], same)


def _files(old: Members, new: Members) -> tuple[tuple[FilesRow, ...], tuple[tuple[str, str], ...]]:
    rows: dict[str, FilesRow] = {}
    paths: dict[str, str] = {}
    for change in differences(old, new):
        one, other = old.members.get(change.path), new.members.get(change.path)
        member = other or one
        # A directory may be in a layer that was not read, too.
        if change.path in paths or member is None or member.header.kind == "dir":
            continue
        kind = file_kind(change.path, member.header)
        row = rows.setdefault(kind, FilesRow(kind))
        what = "removed" if other is None else "added" if one is None else "changed"
        setattr(row, what, getattr(row, what) + 1)
        row.bytes += (other.header.size if other else 0) - (one.header.size if one else 0)
        paths[change.path] = what
    printed = ((printable(path), what) for path, what in paths.items())
    ordered = sorted(rows.values(), key=lambda row: row.kind)
    return tuple(ordered), tuple(printed)
