"""Read a tar archive as a stream, member by member, in constant memory.

    stream = TarStream(chunks, source="layer.tar")
    for header in stream:
        content = stream.read()

Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax with GNU's sparse files (0.0, 0.1 and 1.0), star, and
the GNU long-name and base-256 extensions. What is accepted, and what wins where headers differ, is
as in Go's archive/tar, by which engines read layers: an archive may end after any member, without
an end mark and even without padding.

The standard library's tarfile is not used because it reads extension headers of any size into
memory and skips damaged headers, both of which a hostile archive can use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from tools.archive.decompress import CHUNK
from tools.cli import ToolError

BLOCK = 512
MAX_EXTENSION = 1 << 20  # Bytes of one pax or long-name header; real ones are below 64 KiB.
ZEROS = memoryview(bytes(CHUNK))

_TIMES = ("atime", "ctime", "mtime")
_DIGITS = re.compile(r"[0-9]{1,19}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_TIME = re.compile(r"-?[0-9]{1,19}(\.[0-9]*)?")

KINDS = {
    b"0": "file",
    b"\0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}


class LayerError(ToolError):
    """A layer is damaged, is not what its descriptor says, or is hostile."""


@dataclass(frozen=True)
class Header:
    """One archive member. `name` and `linkname` are exactly as the archive has them.

    `records` are the member's own pax records, extended attributes among them (`SCHILY.xattr.*`).
    """

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    linkname: str
    device: tuple[int, int]
    uname: str = ""
    gname: str = ""
    records: tuple[tuple[str, str], ...] = ()


@dataclass
class _Extent:
    """Zeros that the archive leaves out, then bytes that it has."""

    hole: int
    data: int


class TarStream:
    """Iterates over the members of a layer; the body of the current one is read with `body()`."""

    def __init__(self, chunks: Iterator[bytes], *, source: str) -> None:
        self._chunks = chunks
        self._source = source
        self._buffer = memoryview(b"")
        self._stored = 0  # bytes of the current member that are yet to come
        self._padding = 0
        self._extents: list[_Extent] = []

    def __iter__(self) -> Iterator[Header]:
        """Yield each member. Raise LayerError for anything malformed."""
        pax: dict[str, str] = {}
        long_name = long_link = ""
        while (block := self._next_header()) is not None:
            raw = self._parse(block)
            type_flag = block[156:157]
            if type_flag in (b"x", b"g", b"L", b"K"):
                data = self._extension(raw.size)
                if type_flag == b"x":
                    pax = self._parse_pax(data)
                elif type_flag == b"g":
                    self._parse_pax(data)
                    # Its own values count for nothing; it stands between a member and its headers.
                    pax, long_name, long_link = {}, "", ""
                elif type_flag == b"L":
                    long_name = _text(data.split(b"\0", 1)[0])
                elif type_flag == b"K":
                    long_link = _text(data.split(b"\0", 1)[0])
                continue
            kind = KINDS.get(type_flag)
            if kind is None:
                hint = "; sparse files must be in the pax format" if type_flag == b"S" else ""
                self._fail(f"member {raw.name!r} has the unsupported type {type_flag!r}{hint}")
            header = self._merge(raw, str(kind), pax, long_name, long_link)
            if type_flag == b"\0" and header.name.endswith("/"):
                # Archives from before POSIX mark directories this way.
                header = replace(header, kind="dir", size=0)
            self._stored = header.size
            self._padding = -header.size % BLOCK
            self._extents = [_Extent(0, header.size)]
            yield self._sparse(header, pax) if pax else header
            pax, long_name, long_link = {}, "", ""
        self._drain()

    def body(self) -> Iterator[memoryview]:
        """Yield the rest of the current member's content in pieces of at most 1 MiB."""
        while self._extents:
            extent = self._extents[0]
            if extent.hole:
                piece = ZEROS[: extent.hole]
                extent.hole -= len(piece)
                yield piece
            elif extent.data:
                piece = self._piece(extent.data, "a member")
                extent.data -= len(piece)
                self._stored -= len(piece)
                yield piece
            else:
                del self._extents[0]

    def read(self) -> bytes:
        """Return the rest of the current member's content as one value."""
        return b"".join(self.body())

    def _fail(self, cause: str) -> NoReturn:
        raise LayerError(f"{self._source}: {cause}")

    def _at_end(self) -> bool:
        """Return whether nothing follows."""
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._buffer = memoryview(chunk)
        return False

    def _piece(self, count: int, what: str) -> memoryview:
        """Return between 1 and `count` bytes; raise LayerError, naming `what`, at the end."""
        if self._at_end():
            self._fail(f"the tar archive ends in the middle of {what}; build the layer again")
        piece = self._buffer[:count]
        self._buffer = self._buffer[len(piece) :]
        return piece

    def _take(self, count: int, what: str) -> bytes:
        parts = []
        while count:
            parts.append(self._piece(count, what))
            count -= len(parts[-1])
        return b"".join(parts)

    def _next_header(self) -> bytes | None:
        """Skip the rest of the member and return the next header; None at the end."""
        while self._stored:
            self._stored -= len(self._piece(self._stored, "a member"))
        while self._padding and not self._at_end():
            self._padding -= len(self._piece(self._padding, "a member"))
        self._padding, self._extents = 0, []
        if self._at_end():
            return None
        block = self._take(BLOCK, "a header")
        if block != bytes(BLOCK):
            return block
        if not self._at_end() and self._take(BLOCK, "its end mark") != bytes(BLOCK):
            self._fail("a block of zeros is followed by more of the archive; it is damaged")
        return None

    def _drain(self) -> None:
        # What follows the end mark is padding, but it counts for the digests.
        self._buffer = memoryview(b"")
        for _ in self._chunks:
            pass

    def _extension(self, size: int) -> bytes:
        if size > MAX_EXTENSION:
            self._fail(f"an extension header of {size} bytes is larger than {MAX_EXTENSION}")
        self._padding = -size % BLOCK
        return self._take(size, "an extension header")

    def _parse(self, block: bytes) -> Header:
        checksum = self._number(block[148:156], "checksum")
        counted = block[:148] + b" " * 8 + block[156:]
        # Old tars summed signed bytes.
        if checksum != sum(counted) and checksum != sum(memoryview(counted).cast("b")):
            self._fail("a tar header has a wrong checksum; the archive is damaged")
        name = block[:100].split(b"\0", 1)[0]
        if block[257:263] == b"ustar\0" and block[345:346] != b"\0":
            prefix = block[345:476] if block[508:] == b"tar\0" else block[345:500]  # star's or ours
            name = prefix.split(b"\0", 1)[0] + b"/" + name
        device = (0, 0)
        is_ustar = block[257:262] == b"ustar"
        if is_ustar:
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
            uname=_text(block[265:297].split(b"\0", 1)[0]) if is_ustar else "",
            gname=_text(block[297:329].split(b"\0", 1)[0]) if is_ustar else "",
        )

    def _number(self, field: bytes, what: str) -> int:
        if field[0] & 0x80:  # GNU base-256
            if not field[0] & 0x40:
                return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
            if what != "mtime":
                self._fail(f"a tar header has a negative {what}")
            return int.from_bytes(field, "big", signed=True)
        text = field.strip(b" \0")
        if not text.isdigit():
            text = text.split(b"\0", 1)[0] or b"0"
        if text.strip(b"01234567"):
            self._fail(f"a tar header has the {what} {text!r}, which is not octal")
        return int(text, 8)

    def _parse_pax(self, data: bytes) -> dict[str, str]:
        records: dict[str, str] = {}
        sparse: list[str] = []
        at = 0
        while at < len(data):
            length = data[at : at + 20].partition(b" ")[0]
            end = at + int(length) if _DIGITS.fullmatch(_text(length)) else 0
            key, equals, value = data[at + len(length) + 1 : end].partition(b"=")
            if end > len(data) or not key or not equals or not value.endswith(b"\n"):
                self._fail("a pax header is malformed")
            records[_text(key)] = _text(value[:-1])
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):  # 0.0 repeats these two keys
                sparse.append(_text(value[:-1]))
            at = end
        if sparse:
            records["GNU.sparse.map"] = ",".join(sparse)
        # An empty value means that the header's own field counts.
        pax = {key: value for key, value in records.items() if value}
        for name in pax.keys() & {*_TIMES, "gid", "size", "uid"}:
            self._pax_number(pax, name)
        return pax

    def _pax_number(self, pax: dict[str, str], key: str) -> int:
        text = pax[key]
        if not (_TIME if key in _TIMES else _INTEGER).fullmatch(text):
            self._fail(f"a pax header has {key}={text!r}, which is not a number")
        value = int(text.split(".")[0])
        if value < 0 and key not in _TIMES:
            self._fail(f"a pax header has {key}={text!r}, which is negative")
        return value

    def _merge(
        self, raw: Header, kind: str, pax: dict[str, str], long_name: str, long_link: str
    ) -> Header:
        def number(key: str, fallback: int) -> int:
            return self._pax_number(pax, key) if key in pax else fallback

        return Header(
            name=long_name or pax.get("path", raw.name),
            kind=kind,
            mode=raw.mode,
            uid=number("uid", raw.uid),
            gid=number("gid", raw.gid),
            # Only files have a body, whatever the size field of a link says.
            size=number("size", raw.size) if kind == "file" else 0,
            mtime=number("mtime", raw.mtime),
            linkname=long_link or pax.get("linkpath", raw.linkname),
            device=raw.device,
            uname=pax.get("uname", raw.uname),
            gname=pax.get("gname", raw.gname),
            records=tuple(pax.items()),
        )

    def _sparse(self, header: Header, pax: dict[str, str]) -> Header:
        """Return the header of what a sparse member unpacks to, and set its extents.

        The formats are in GNU tar's manual, "Storing Sparse Files".
        """
        version = (pax.get("GNU.sparse.major", ""), pax.get("GNU.sparse.minor", ""))
        old = version in (("0", "0"), ("0", "1")) or (
            version == ("", "") and "GNU.sparse.map" in pax
        )
        if not old and version != ("1", "0"):
            return header
        name = pax.get("GNU.sparse.name", header.name)
        if header.kind != "file":
            self._fail(f"member {name!r} is sparse, and it is a {header.kind}")
        size = header.size
        for key in ("GNU.sparse.realsize", "GNU.sparse.size"):
            size = self._pax_number(pax, key) if key in pax else size
        if old:
            parts = pax.get("GNU.sparse.map")
            words = [pax.get("GNU.sparse.numblocks", ""), *(parts.split(",") if parts else [])]
        else:
            words = self._sparse_map(name)
        if not all(map(_DIGITS.fullmatch, words)) or len(words) != 1 + 2 * int(words[0]):
            self._fail(f"member {name!r} has a malformed map of its sparse parts")
        numbers = [int(word) for word in words[1:]]
        self._extents, end = [], 0
        for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
            self._extents.append(_Extent(offset - end, length))
            end = offset + length
        self._extents.append(_Extent(size - end, 0))
        data = sum(extent.data for extent in self._extents)
        if min(extent.hole for extent in self._extents) < 0 or data != self._stored:
            self._fail(f"member {name!r} has a map of its sparse parts that does not fit its data")
        return replace(header, name=name, size=size)

    def _sparse_map(self, name: str) -> list[str]:
        """Return the lines of a map that begins the member's data: a count, then two for each."""
        text, lines, wanted = b"", 0, 1
        while lines < wanted:
            if self._stored < BLOCK or len(text) >= MAX_EXTENSION:
                self._fail(f"member {name!r} has a malformed map of its sparse parts")
            block = self._take(BLOCK, "a member")
            self._stored -= BLOCK
            text += block
            lines += block.count(b"\n")
            if wanted == 1 and lines:
                count = _text(text.split(b"\n", 1)[0])
                wanted += 2 * int(count) if _DIGITS.fullmatch(count) else 0
        return [_text(line) for line in text.split(b"\n")[:wanted]]


def _text(data: bytes) -> str:
    # File names are bytes on Linux; surrogateescape keeps the ones that are not UTF-8.
    return data.decode("utf-8", "surrogateescape")
