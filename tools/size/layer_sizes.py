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
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from tools.cli import ToolError
from tools.image.layout import Layer

_CHUNK = 16 << 10
_GZIP = 31  # zlib's wbits for a full window with gzip's header


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
        """Raw and stored bytes that are of no member."""
        return (
            self.raw - sum(member.raw for member in self.members),
            self.stored - sum(member.stored for member in self.members),
        )


class _Source(Protocol):
    """Uncompressed bytes in order, and how many stored ones were needed for them so far."""

    consumed: int

    def read(self, count: int) -> bytes: ...


class _Gzip:
    def __init__(self, blob: IO[bytes]) -> None:
        self.consumed = 0
        self._blob = blob
        self._inflate = zlib.decompressobj(_GZIP)
        self._waiting = b""

    def read(self, count: int) -> bytes:
        parts = []
        while count:
            if self._inflate.eof:
                self._waiting = self._inflate.unused_data or self._blob.read(_CHUNK)
                if not self._waiting:
                    break
                self._inflate = zlib.decompressobj(_GZIP)
            self._waiting = self._waiting or self._blob.read(_CHUNK)
            data = self._inflate.decompress(self._waiting, count)
            left = self._inflate.unconsumed_tail or self._inflate.unused_data
            if not data and not self._waiting and not self._inflate.eof:
                raise EOFError("the gzip stream ends too early")
            self.consumed += len(self._waiting) - len(left)
            self._waiting = b"" if self._inflate.eof else left
            parts.append(data)
            count -= len(data)
        return b"".join(parts)


class _Plain:
    def __init__(self, blob: IO[bytes]) -> None:
        self.consumed = 0
        self._blob = blob

    def read(self, count: int) -> bytes:
        data = self._blob.read(count)
        self.consumed += len(data)
        return data


class _Forward(io.RawIOBase):
    """What tarfile reads: a stream that can be skipped forward; notes each header's place."""

    def __init__(self, source: _Source) -> None:
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


def measure(layer: Layer) -> LayerSizes:
    """Measure one layer. Raise ToolError naming a damaged one, OSError."""
    try:
        return _measure(layer)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ToolError(f"layer {layer.digest}: {error}") from error


def _measure(layer: Layer) -> LayerSizes:
    with layer.path.open("rb") as blob:
        if layer.compression == "zstd":
            return _proportional(blob, layer.size)
        source = _Gzip(blob) if layer.compression == "gzip" else _Plain(blob)
        stream = _Forward(source)
        infos = list(_infos(stream))
        while stream.read(1 << 20):
            pass
        places = [(info.offset, stream.consumed_at[info.offset]) for info in infos]
        end = _end_of(infos[-1]) if infos else 0
        # Where the last member ends nothing else was read; take the next place that was.
        after = min((at for at in stream.consumed_at if at >= end), default=end)
        places.append((end, stream.consumed_at.get(after, layer.size)))
        return LayerSizes(stream.tell(), layer.size, _members(infos, places))


def _proportional(blob: IO[bytes], stored: int) -> LayerSizes:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True) as reader:
        stream = _Forward(_Plain(reader))
        infos = list(_infos(stream))
        while stream.read(1 << 20):
            pass
    raw = stream.tell()
    ends = [info.offset for info in infos] + ([_end_of(infos[-1])] if infos else [0])
    return LayerSizes(raw, stored, _members(infos, [(at, at * stored // raw) for at in ends]))


def _infos(stream: _Forward) -> Iterator[tarfile.TarInfo]:
    # tarfile takes any object with these three methods.
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        yield from archive


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
