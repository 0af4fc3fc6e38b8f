"""A layer's blob → how many bytes of it, and of its archive, each member takes.

The archive's bytes are exact: header, content and padding. So are the stored bytes of a gzip layer:
those that inflating the member consumed, with its share of the Huffman tables. In a zstd layer,
whose blocks do not end where members do, a member gets the share that its archive bytes have.
What belongs to no member (ends, padding, the blob's own header) is the layer's overhead, so that
the sums are the sizes of archive and blob.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from tools.archive.decompress import Decompressor
from tools.cli import ToolError
from tools.image.layout import Image, Layer

_CHUNK = 16 << 10


@dataclass(frozen=True)
class Member:
    """One member: `raw` bytes of the archive, `stored` bytes of the blob, `size` of its content."""

    path: str
    kind: str
    target: str
    size: int
    raw: int
    stored: int


@dataclass(frozen=True)
class LayerSizes:
    """A layer's members in its order; `raw` and `stored` are those of archive and blob."""

    raw: int
    stored: int
    members: tuple[Member, ...]

    @property
    def overhead(self) -> tuple[int, int]:
        """Raw and stored bytes that belong to no member."""
        return (
            self.raw - sum(member.raw for member in self.members),
            self.stored - sum(member.stored for member in self.members),
        )


class _Forward(io.RawIOBase):
    """What tarfile reads: a stream that can be skipped forward; notes each header's place."""

    def __init__(self, source: Decompressor) -> None:
        super().__init__()
        self._source = source
        self._at = 0
        self.consumed_at: dict[int, int] = {0: 0}

    def read(self, count: int = -1) -> bytes:
        data = self._source.read(1 << 62 if count < 0 else count)
        self._at += len(data)
        self.consumed_at[self._at] = self._source.consumed
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0 or position < self._at:
            raise io.UnsupportedOperation("this stream only goes forward")
        while self._at < position:
            if not self.read(min(position - self._at, 1 << 20)):
                break
        return self._at


def layer_names(image: Image) -> list[str]:
    """Return the layers' names: of the targets that made them, as history says, else numbers."""
    made = [
        str(entry.get("created_by", ""))
        for entry in image.config.get("history") or []
        if not entry.get("empty_layer")
    ]
    if len(made) != len(image.layers):
        made = [""] * len(image.layers)
    targets = [text.rpartition(":")[2].removesuffix("_layer").replace("_", " ") for text in made]
    return [name or f"layer {number}" for number, name in enumerate(targets, start=1)]


def measure(layer: Layer) -> LayerSizes:
    """Measure one layer. Raise ToolError naming a damaged one, OSError."""
    try:
        return _measure(layer)
    except (tarfile.TarError, ToolError) as error:
        raise ToolError(f"layer {layer.digest}: {error}") from error


def _measure(layer: Layer) -> LayerSizes:
    with layer.path.open("rb") as blob:
        chunks = iter(lambda: blob.read(_CHUNK), b"")
        stream = _Forward(Decompressor(chunks, layer.compression))
        infos = list(_infos(stream))
        while stream.read(1 << 20):
            pass
        if layer.compression == "zstd":
            return _proportional(infos, raw=stream.tell(), stored=layer.size)
        places = [(info.offset, stream.consumed_at[info.offset]) for info in infos]
        # A sparse file has more bytes than the archive.
        end = min(_end_of(infos[-1]), stream.tell()) if infos else 0
        # Where the last member ends nothing else was read; take the next place that was.
        after = min((at for at in stream.consumed_at if at >= end), default=end)
        places.append((end, stream.consumed_at.get(after, layer.size)))
        return LayerSizes(stream.tell(), layer.size, _members(infos, places))


def _proportional(infos: list[tarfile.TarInfo], *, raw: int, stored: int) -> LayerSizes:
    ends = [info.offset for info in infos] + ([_end_of(infos[-1])] if infos else [0])
    places = [(at, at * stored // max(raw, 1)) for at in ends]
    return LayerSizes(raw, stored, _members(infos, places))


def _infos(stream: _Forward) -> Iterator[tarfile.TarInfo]:
    try:
        # tarfile takes any object with these three methods.
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            yield from archive
    except tarfile.ReadError:
        if stream.tell():  # An empty file is a layer without members.
            raise


def _end_of(info: tarfile.TarInfo) -> int:
    size = info.size if info.isreg() else 0
    return info.offset_data + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _members(infos: list[tarfile.TarInfo], places: list[tuple[int, int]]) -> tuple[Member, ...]:
    return tuple(
        Member(
            path="/" + "/".join(part for part in info.name.split("/") if part not in ("", ".")),
            kind=_kind(info),
            target=info.linkname,
            size=info.size if info.isreg() else 0,
            raw=places[i + 1][0] - places[i][0],
            stored=places[i + 1][1] - places[i][1],
        )
        for i, info in enumerate(infos)
    )


def _kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "directory"
    if info.issym():
        return "link"
    return "hard link" if info.islnk() else "file"
