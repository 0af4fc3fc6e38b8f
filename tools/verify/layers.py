"""Two images' layers → which belong together, and what differs inside a pair."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.archive.compress import available_cores
from tools.archive.decompress import CHUNK, sniff
from tools.archive.layer_stream import open_layer
from tools.archive.tar_stream import TarStream
from tools.image.layer_difference import (
    Change,
    Field,
    Members,
    content_difference,
    differences,
    read_members,
    tar_of,
)
from tools.image.layout import Image, Layer
from tools.image.unpack import DEFAULT_LIMITS
from tools.registry.errors import printable
from tools.size.layer_sizes import layer_names
from tools.verify.packages import is_metadata


@dataclass(frozen=True)
class Names:
    """What messages call the two images."""

    old: str = "the old image"
    new: str = "the new image"


@dataclass(frozen=True)
class Place:
    """A layer of an image, with its number from the lowest on and the name of what made it."""

    number: int
    name: str
    layer: Layer

    def __str__(self) -> str:
        generic = f"layer {self.number}"
        return generic if self.name == generic else f"{generic} ({self.name})"


@dataclass(frozen=True)
class Pair:
    """Two layers that belong together; None where one image has nothing in that place."""

    old: Place | None
    new: Place | None

    @property
    def place(self) -> Place:
        """The new layer, or the old one where there is no new one."""
        place = self.new or self.old
        if place is None:
            raise ValueError("a pair of nothing")
        return place

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True)
class Alignment:
    """The layers of two images: equal in content, or paired; `reordered` are equal ones."""

    equal: tuple[tuple[Place, Place], ...]
    pairs: tuple[Pair, ...]
    reordered: tuple[tuple[Place, Place], ...]


def places(image: Image) -> list[Place]:
    """Return an image's layers with their names."""
    names = layer_names(image)
    return [
        Place(number, printable(name), layer)
        for number, (name, layer) in enumerate(zip(names, image.layers, strict=True), start=1)
    ]


def align(old: Image, new: Image) -> Alignment:
    """Find which layers are the same, and which others belong together: by name, else by place."""
    rest, olds, equal = places(new), [], []
    for place in places(old):
        same = next((each for each in rest if each.layer.diff_id == place.layer.diff_id), None)
        if same is None:
            olds.append(place)
        else:
            rest.remove(same)
            equal.append((place, same))
    pairs: list[Pair] = []
    for place in list(olds):
        named = [each for each in rest if each.name == place.name]
        if len(named) == 1 and sum(each.name == place.name for each in olds) == 1:
            pairs.append(Pair(place, named[0]))
            olds.remove(place)
            rest.remove(named[0])
    while olds and rest:
        pairs.append(Pair(olds.pop(0), rest.pop(0)))
    pairs += [Pair(place, None) for place in olds] + [Pair(None, place) for place in rest]
    pairs.sort(key=lambda pair: pair.place.number)
    return Alignment(tuple(equal), tuple(pairs), tuple(_reordered(equal)))


def _reordered(equal: Sequence[tuple[Place, Place]]) -> Iterator[tuple[Place, Place]]:
    """Yield the layers that are at another place among those that both images have."""
    order = sorted(equal, key=lambda pair: pair[1].number)
    for here, there in zip(equal, order, strict=True):
        if here[1].number != there[1].number:
            yield here


@dataclass(frozen=True)
class LayerChanges:
    """What differs between two layers, and all that they hold."""

    changes: tuple[Change, ...]
    old: Members
    new: Members


_EMPTY = Members({}, {})


def compare_pairs(pairs: Sequence[Pair]) -> list[LayerChanges]:
    """Read all layers, whose files must be there, and compare their members pair by pair.

    Raise LayerError for a damaged layer.
    """
    layers = [place.layer for pair in pairs for place in (pair.old, pair.new) if place]
    # Largest first: a large layer that starts last leaves the other processors idle.
    layers.sort(key=lambda layer: -layer.size)
    with ThreadPoolExecutor(available_cores()) as pool:
        read = dict(zip(layers, pool.map(_members, layers), strict=True))
    found = []
    for pair in pairs:
        old, new = (read[place.layer] if place else _EMPTY for place in (pair.old, pair.new))
        found.append(LayerChanges(tuple(differences(old, new)), old, new))
    return found


def _members(layer: Layer) -> Members:
    return read_members(_tar(layer), keep=is_metadata)


def _tar(layer: Layer) -> TarStream:
    # Its digest has been verified by whoever brought the file here.
    return tar_of(layer.path, max_bytes=DEFAULT_LIMITS.bytes)


def explain(change: Change, *, names: Names, place: str = "") -> str:
    """Return a change in words; `place` says where contents differ."""
    if change.field is Field.PRESENCE:
        which = names.old if change.new is None else names.new
        return f"is in {which} only ({change.old or change.new})"
    if change.field is not Field.CONTENT:
        return f"{change.what} {change.old} → {change.new}"
    sizes = "" if change.old == change.new else f"; {change.old} → {change.new}"
    return f"content differs {place}".rstrip() + sizes


def content_place(pair: Pair, change: Change) -> str:
    """Return where contents differ, read again from both layers; raise LayerError."""
    if change.field is not Field.CONTENT or pair.old is None or pair.new is None:
        return ""
    return content_difference(_tar(pair.old.layer), _tar(pair.new.layer), change.path)


def check_content(layer: Layer) -> None:
    """Raise LayerError if a layer has another content than its image's config says."""
    if layer.digest == layer.diff_id:
        return  # Not compressed, and compared with its digest when it was read.
    with open_layer(layer, max_bytes=DEFAULT_LIMITS.bytes) as stream:
        for _ in stream:
            pass


def compression_difference(old: Layer, new: Layer) -> str:
    """Say how two files of one content are compressed differently; both must be there."""
    sizes = f"{old.size} → {new.size} bytes"
    methods = [_method(layer.path) for layer in (old, new)]
    if methods[0] != methods[1]:
        return f"{methods[0]} → {methods[1]}, {sizes}"
    if methods[0] != "gzip":
        return f"{methods[0]} level, {sizes}"
    headers = [_gzip(layer.path) for layer in (old, new)]
    for what, one, other in zip(
        ("time", "name", "operating system"), *(h.fields for h in headers), strict=True
    ):
        if one != other:
            return f"gzip header, {what} {one} → {other}, {sizes}"
    if headers[0].members != headers[1].members:
        return f"gzip members {headers[0].members} → {headers[1].members}, {sizes}"
    return f"gzip level, {sizes}"


def _method(path: Path) -> str:
    with path.open("rb") as stream:
        return sniff(stream.read(4))


@dataclass(frozen=True)
class _Gzip:
    """What a gzip file says besides its content: of the first header, and how many members."""

    fields: tuple[int, str, int]
    members: int


def _gzip(path: Path) -> _Gzip:
    """Read a gzip file's framing (RFC 1952); its content must have been verified."""
    with path.open("rb") as stream:
        head = stream.read(1 << 10)
        name = b""
        if head[3] & 8:
            start = 12 + int.from_bytes(head[10:12], "little") if head[3] & 4 else 10
            name = head[start:].partition(b"\0")[0]
        fields = (int.from_bytes(head[4:8], "little"), repr(name.decode("latin-1")), head[9])
        stream.seek(0)
        members, inflate = 0, zlib.decompressobj(wbits=31)
        data = b""
        while data or (data := stream.read(CHUNK)):
            # In pieces: a small file may hold gigabytes.
            inflate.decompress(data, CHUNK)
            data = inflate.unconsumed_tail or inflate.unused_data
            if inflate.eof:
                members += 1
                inflate = zlib.decompressobj(wbits=31)
    return _Gzip(fields, members)
