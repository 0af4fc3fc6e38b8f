"""Read the tar archive inside one image layer: verified, decompressed, entry by entry.

The layer is read once, front to back. While it streams past, its SHA-256 and size are compared
with the descriptor, and the SHA-256 of the decompressed bytes with the layer's `diff_id`.
Decompression and hashing run in a second thread (zlib and hashlib release the interpreter lock),
so that parsing and writing files overlap with them.

Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax and the GNU long-name and base-256 extensions; gzip
(RFC 1952, several members allowed), uncompressed, and zstd when the `zstandard` module is there.
The standard library's tarfile is not used because it reads extension headers of any size into
memory and skips damaged headers, both of which a hostile archive can use.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.archive.decompress import CHUNK, DecompressionError, Decompressor, sniff
from tools.cli import ToolError

BLOCK = 512
MAX_EXTENSION = 1 << 20  # Bytes of one pax or long-name header; real ones are below 64 KiB.
QUEUE_DEPTH = 96  # Decompressed chunks waiting to be parsed: at most 96 MiB a layer.

KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}


class LayerError(ToolError):
    """A layer is damaged, is not what its descriptor says, or is hostile."""


class LayerBlob(Protocol):
    """What is needed of a layer; `tools.image.layout.Layer` satisfies it."""

    @property
    def digest(self) -> str:
        """`sha256:` and hex digits, of the blob as stored."""

    @property
    def size(self) -> int:
        """Bytes of the blob as stored."""

    @property
    def diff_id(self) -> str:
        """Digest of the uncompressed archive."""

    @property
    def path(self) -> Path:
        """The blob's file."""


@dataclass(frozen=True)
class Header:
    """One archive member. `name` and `linkname` are exactly as the archive has them."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    linkname: str
    device: tuple[int, int]


class TarStream:
    """Iterates over the members of a layer; the body of the current one is read with `body()`."""

    def __init__(self, chunks: Iterator[bytes], *, source: str) -> None:
        self._chunks = chunks
        self._source = source
        self._buffer = memoryview(b"")
        self._body_left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Header]:
        """Yield each member. Raise LayerError for anything malformed."""
        pax: dict[str, str] = {}
        long_name = long_link = ""
        while True:
            self._skip(self._body_left + self._padding)
            self._body_left = self._padding = 0
            block = self._take(BLOCK)
            if block == bytes(BLOCK):
                self._drain()
                return
            raw = self._parse(block)
            type_flag = block[156:157]
            if type_flag in (b"x", b"g", b"L", b"K"):
                data = self._extension(raw.size)
                if type_flag == b"x":
                    pax = self._parse_pax(data)
                elif type_flag == b"L":
                    long_name = _text(data.split(b"\0", 1)[0])
                elif type_flag == b"K":
                    long_link = _text(data.split(b"\0", 1)[0])
                continue
            kind = KINDS.get(type_flag)
            if kind is None:
                self._fail(f"member {raw.name!r} has the unsupported type {type_flag!r}")
            if any(key.startswith("GNU.sparse") for key in pax):
                self._fail(f"member {raw.name!r} is sparse, which image layers may not hold")
            header = self._merge(raw, str(kind), pax, long_name, long_link)
            pax, long_name, long_link = {}, "", ""
            self._body_left = header.size
            self._padding = -header.size % BLOCK
            yield header

    def body(self) -> Iterator[memoryview]:
        """Yield the rest of the current member's content in pieces of at most 1 MiB."""
        while self._body_left:
            if not self._buffer:
                self._fill()
            piece = self._buffer[: self._body_left]
            self._buffer = self._buffer[len(piece) :]
            self._body_left -= len(piece)
            yield piece

    def read(self) -> bytes:
        """Return the rest of the current member's content as one value."""
        return b"".join(self.body())

    def _fail(self, cause: str) -> None:
        raise LayerError(f"{self._source}: {cause}")

    def _fill(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._buffer = memoryview(chunk)
                return
        self._fail("the tar archive ends in the middle of a member; build the layer again")

    def _take(self, count: int) -> bytes:
        if len(self._buffer) >= count:
            data = bytes(self._buffer[:count])
            self._buffer = self._buffer[count:]
            return data
        parts = []
        while count:
            if not self._buffer:
                self._fill()
            piece = bytes(self._buffer[:count])
            self._buffer = self._buffer[len(piece) :]
            count -= len(piece)
            parts.append(piece)
        return b"".join(parts)

    def _skip(self, count: int) -> None:
        while count:
            if not self._buffer:
                self._fill()
            step = min(count, len(self._buffer))
            self._buffer = self._buffer[step:]
            count -= step

    def _drain(self) -> None:
        # What follows the end mark is padding, but it counts for the digests.
        self._buffer = memoryview(b"")
        for _ in self._chunks:
            pass

    def _extension(self, size: int) -> bytes:
        if size > MAX_EXTENSION:
            self._fail(f"an extension header of {size} bytes is larger than {MAX_EXTENSION}")
        data = self._take(size)
        self._skip(-size % BLOCK)
        return data

    def _parse(self, block: bytes) -> Header:
        checksum = self._number(block[148:156], "checksum")
        if sum(block[:148]) + sum(block[156:]) + 8 * 0x20 != checksum:
            self._fail("a tar header has a wrong checksum; the archive is damaged")
        name = block[:100].split(b"\0", 1)[0]
        if block[257:263] == b"ustar\0" and block[345:346] != b"\0":
            name = block[345:500].split(b"\0", 1)[0] + b"/" + name
        device = (0, 0)
        if block[156:157] in (b"3", b"4"):
            device = (self._number(block[329:337], "major"), self._number(block[337:345], "minor"))
        return Header(
            name=_text(name),
            kind="",
            mode=self._number(block[100:108], "mode") & 0o7777,
            uid=self._number(block[108:116], "uid"),
            gid=self._number(block[116:124], "gid"),
            size=self._number(block[124:136], "size"),
            mtime=self._number(block[136:148], "mtime"),
            linkname=_text(block[157:257].split(b"\0", 1)[0]),
            device=device,
        )

    def _number(self, field: bytes, what: str) -> int:
        if field[0] & 0x80:  # GNU base-256
            value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
            if field[0] & 0x40 and what != "mtime":
                self._fail(f"a tar header has a negative {what}")
            return value
        text = field.strip(b" \0")
        try:
            return int(text, 8) if text else 0
        except ValueError:
            self._fail(f"a tar header has the {what} {text!r}, which is not octal")
            raise

    def _parse_pax(self, data: bytes) -> dict[str, str]:
        records: dict[str, str] = {}
        while data:
            length, _, _ = data.partition(b" ")
            if not length.isdigit() or not len(length) + 2 < int(length) <= len(data):
                self._fail("a pax header is malformed")
            record, data = data[len(length) + 1 : int(length)], data[int(length) :]
            key, equals, value = record.partition(b"=")
            if not equals or not value.endswith(b"\n"):
                self._fail("a pax header is malformed")
            records[_text(key)] = _text(value[:-1])
        return records

    def _merge(
        self, raw: Header, kind: str, pax: dict[str, str], long_name: str, long_link: str
    ) -> Header:
        def number(key: str, fallback: int) -> int:
            text = pax.get(key)
            if text is None:
                return fallback
            try:
                value = int(text.split(".")[0])
            except ValueError:
                self._fail(f"a pax header has {key}={text!r}, which is not a number")
                raise
            if value < 0 and key != "mtime":
                self._fail(f"a pax header has {key}={text!r}, which is negative")
            return value

        name = pax.get("path", long_name or raw.name)
        if kind == "file" and name.endswith("/"):
            kind = "dir"  # Pre-POSIX archives mark directories this way.
        return Header(
            name=name,
            kind=kind,
            mode=raw.mode,
            uid=number("uid", raw.uid),
            gid=number("gid", raw.gid),
            # Only files have a body, whatever the size field of a link says.
            size=number("size", raw.size) if kind == "file" else 0,
            mtime=number("mtime", raw.mtime),
            linkname=pax.get("linkpath", long_link or raw.linkname),
            device=raw.device,
        )


@contextlib.contextmanager
def open_layer(layer: LayerBlob, *, max_bytes: int) -> Iterator[TarStream]:
    """Open a layer for reading, in a thread of its own, and verify it.

    The digests are compared when the archive has been read to its end. Raise LayerError when
    they differ, when decompression fails, when the layer holds more than `max_bytes` of
    uncompressed data, or when the file cannot be read.
    """
    pipe: queue.Queue[bytes | BaseException | None] = queue.Queue(QUEUE_DEPTH)
    stop = threading.Event()

    def put(item: bytes | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                pipe.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for chunk in _verified_chunks(layer, max_bytes=max_bytes):
                if not put(chunk):
                    return
            put(None)
        except (LayerError, OSError) as error:
            put(error)

    def consume() -> Iterator[bytes]:
        while (item := pipe.get()) is not None:
            if isinstance(item, OSError):
                raise LayerError(f"layer {layer.digest}: cannot be read: {item}") from item
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=produce, name="layer-reader", daemon=True)
    thread.start()
    try:
        yield TarStream(consume(), source=f"layer {layer.digest}")
    finally:
        stop.set()
        thread.join()


def _verified_chunks(layer: LayerBlob, *, max_bytes: int) -> Iterator[bytes]:
    """Yield decompressed chunks; raise LayerError at the end unless every digest agrees."""
    compressed, plain = hashlib.sha256(), hashlib.sha256()
    size = total = 0

    def raw() -> Iterator[bytes]:
        nonlocal size
        with layer.path.open("rb") as stream:
            while data := stream.read(CHUNK):
                size += len(data)
                compressed.update(data)
                yield data

    for chunk in _content(raw(), source=f"layer {layer.digest}"):
        total += len(chunk)
        if total > max_bytes:
            raise LayerError(f"layer {layer.digest}: unpacks to more than {max_bytes} bytes")
        plain.update(chunk)
        yield chunk
    if f"sha256:{compressed.hexdigest()}" != layer.digest or size != layer.size:
        raise LayerError(
            f"layer {layer.digest}: the file {layer.path} has sha256:{compressed.hexdigest()} and "
            f"{size} bytes, the manifest says {layer.size}; it is damaged, build it again"
        )
    if f"sha256:{plain.hexdigest()}" != layer.diff_id:
        raise LayerError(
            f"layer {layer.digest}: its content has sha256:{plain.hexdigest()}, the image's "
            f"config says diff_id {layer.diff_id}; engines will refuse the image"
        )


def _content(chunks: Iterator[bytes], *, source: str) -> Iterator[bytes]:
    first = next(chunks, b"")
    try:
        yield from Decompressor(itertools.chain([first], chunks), sniff(first), zero_padding=True)
    except DecompressionError as error:
        raise LayerError(f"{source}: {error}; build the layer again") from error


def _text(data: bytes) -> str:
    # File names are bytes on Linux; surrogateescape keeps the ones that are not UTF-8.
    return data.decode("utf-8", "surrogateescape")
