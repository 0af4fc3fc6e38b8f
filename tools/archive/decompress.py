"""Decompress a stream in bounded memory: chunks of gzip, xz, bzip2 or zstd in, content out.

    for piece in Decompressor(chunks, "gzip"): ...
    header = Decompressor(chunks, "zstd").read(512)

Several gzip members (RFC 1952 2.2), xz or bzip2 streams, or zstd frames (RFC 8878 3) in a row are
one stream. Data that is damaged, cut short or followed by garbage is a DecompressionError, even
where the format's own library accepts it.

Python 3.9 and the standard library alone, because tools/archive/deb.py is; zstd needs the module
`zstandard`.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

from tools.cli import ToolError

CHUNK = 1 << 20

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # RFC 8878 3.1.2


class DecompressionError(ToolError):
    """The data is not what its method says; the message gives the cause, the caller the name."""


def sniff(head: bytes) -> str:
    """Return the method that the first bytes of a layer announce: 'gzip', 'zstd' or 'none'."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD_MAGIC) else "none"


class Decompressor:
    """The content of `chunks`, read as from a file or iterated over in pieces of at most 1 MiB.

    `method` is 'gzip', 'xz', 'bzip2', 'zstd' or 'none'.
    """

    def __init__(self, chunks: Iterable[bytes], method: str) -> None:
        self._chunks = iter(chunks)
        self._method = method
        self._fetched = 0
        self._waiting = b""  # fetched, and not yet given to the engine
        self._errors, self._new_engine = _engine_of(method)
        self._engine = self._new_engine()

    @property
    def consumed(self) -> int:
        """How many bytes of the input the content read so far has taken; exact for gzip."""
        return self._fetched - len(self._waiting) - self._engine.left

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only at the end; raise DecompressionError."""
        pieces = []
        while count > 0 and (piece := self._piece(count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)  # of one piece: that piece, not a copy

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB; raise DecompressionError."""
        while piece := self._piece(CHUNK):
            yield piece

    def _piece(self, count: int) -> bytes:
        """Return between 1 and `count` bytes, b"" at the end."""
        while True:
            if self._engine.eof and not self._begin_next():
                return b""
            data, hungry = b"", self._engine.needs_input
            if hungry:
                data, self._waiting = self._waiting or self._fetch(), b""
            try:
                piece = self._engine.decompress(data, count)
            except self._errors as error:
                raise DecompressionError(f"{self._method} data is corrupt: {error}") from error
            if piece:
                return piece
            if hungry and not data and not self._engine.eof:
                if self._method == "none":
                    return b""
                raise DecompressionError(
                    f"{self._method} data ends before its end mark; the file is cut short"
                )

    def _begin_next(self) -> bool:
        """Begin the next member, stream or frame; return False when there is none."""
        left = self._engine.unused_data or self._fetch()
        if self._method == "gzip" and left.startswith(b"\0"):
            raise DecompressionError(
                "gzip data is followed by zeros, which engines refuse although gzip(1) does not"
            )
        if left:
            self._engine = self._new_engine()
            self._waiting = left
        return bool(left)

    def _fetch(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                self._fetched += len(chunk)
                return chunk
        return b""


class _Engine(Protocol):
    """What decompresses one member; the interface of lzma and bz2, where input is kept inside."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def left(self) -> int:
        """Bytes it was given and has not used."""

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor with that interface."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)  # 16 + 15: gzip framing, full window

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    @property
    def left(self) -> int:
        return len(self._inflate.unconsumed_tail) or len(self._inflate.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


class _Streamed:
    """The decompressor of lzma or bz2."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.decompress: Callable[[bytes, int], bytes] = decoder.decompress

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._decoder.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)

    @property
    def left(self) -> int:
        return len(self.unused_data)


class _Zstd:
    """One zstd frame (RFC 8878 3.1), decompressed block by block.

    zstandard's decompressobj has no limit for its output, and its stream reader takes a cut frame
    for a whole one. So this follows the frame's structure: a block unpacks to 128 KiB at most, and
    where the last one ends is known.
    """

    def __init__(self) -> None:
        self._decoder = _zstandard().ZstdDecompressor().decompressobj()
        self._input = bytearray()
        self._content = b""
        self._in_header = True
        self._checksum = 0
        self._skip = 0  # of a skippable frame: bytes that are yet to come
        self._complete = False

    @property
    def eof(self) -> bool:
        return self._complete and not self._content

    @property
    def needs_input(self) -> bool:
        return not self._content and not self._complete

    @property
    def unused_data(self) -> bytes:
        return bytes(self._input)

    @property
    def left(self) -> int:
        return len(self._input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        while not self._content and not self._complete:
            size = self._unit()
            if not size or size > len(self._input):
                break
            unit = bytes(self._input[:size])
            del self._input[:size]
            self._content = self._decoder.decompress(unit)
        piece, self._content = self._content[:max_length], self._content[max_length:]
        return piece

    def _unit(self) -> int:
        """Return the size of the next header or block; 0 if that takes more input to know."""
        if self._skip:
            taken = min(self._skip, len(self._input))
            del self._input[:taken]
            self._skip -= taken
            self._complete = not self._skip
            return 0
        return self._header() if self._in_header else self._block()

    def _header(self) -> int:
        if len(self._input) < 8:  # the shortest frame has 9 bytes, the shortest skippable one 8
            return 0
        if int.from_bytes(self._input[:4], "little") in _SKIPPABLE:
            self._skip = int.from_bytes(self._input[4:8], "little")
            self._complete = not self._skip
            del self._input[:8]
            return self._unit() if self._skip else 0
        descriptor = self._input[4]
        single = descriptor >> 5 & 1
        self._checksum = (descriptor >> 2 & 1) * 4
        dictionary = (0, 1, 2, 4)[descriptor & 3]
        content_size = (single, 2, 4, 8)[descriptor >> 6]
        size = 5 + (1 - single) + dictionary + content_size
        self._in_header = len(self._input) < size
        return size

    def _block(self) -> int:
        if len(self._input) < 3:
            return 0
        header = int.from_bytes(self._input[:3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        total = 3 + (1 if kind == 1 else size) + (self._checksum if last else 0)  # 1: run of a byte
        self._complete = bool(last) and total <= len(self._input)
        return total


class _Plain:
    """Data that is not compressed, with the same interface; it has no end mark."""

    def __init__(self) -> None:
        self._content = b""
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        return not self._content

    @property
    def left(self) -> int:
        return len(self._content)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        content = data or self._content
        self._content = content[max_length:]
        return content[:max_length]


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise DecompressionError(
            "is compressed with zstd, and the Python module 'zstandard' is missing; install it, or "
            "compress with gzip or xz instead"
        ) from None
    return zstandard


def _engine_of(method: str) -> tuple[tuple[type[Exception], ...], Callable[[], _Engine]]:
    """Return what a method's engine raises for damaged data, and what makes one."""
    if method == "zstd":
        return (cast("type[Exception]", _zstandard().ZstdError),), _Zstd
    engines: dict[str, tuple[tuple[type[Exception], ...], Callable[[], _Engine]]] = {
        "gzip": ((zlib.error,), _Gzip),
        "xz": ((lzma.LZMAError,), lambda: _Streamed(lzma.LZMADecompressor())),
        "bzip2": ((OSError,), lambda: _Streamed(bz2.BZ2Decompressor())),
        "none": ((), _Plain),
    }
    return engines[method]
