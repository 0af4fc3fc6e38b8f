"""Compress a stream on several threads, the bytes independent of how many.

    with open("layer.tar.gz", "wb") as out, Compressor(out, method="gzip", jobs=2) as packed:
        packed.write(b"...")

The stream is cut into blocks of a fixed size, and each block becomes a member (gzip, RFC 1952 2.2)
or frame (zstd, RFC 8878 3) of its own; every reader of either format takes several of them in a
row for one stream. Cutting depends on the content alone, so the same input gives the same bytes for
any number of threads. Threads, not processes: both libraries give up the interpreter lock.

README.md says why libdeflate, why these sizes and these levels.
"""

from __future__ import annotations

import collections
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import deflate

from tools.cli import ToolError

_MIB = 1 << 20


@dataclass(frozen=True)
class Method:
    """A way to compress: block size in bytes, levels from fastest to smallest, file extension."""

    pack: Callable[[bytes, int], bytes]
    block_size: int
    default_level: int
    levels: range
    extension: str


def _gzip(block: bytes, level: int) -> bytes:
    # Its header has no time, no name and operating system 255: nothing of the machine.
    return bytes(deflate.gzip_compress(block, level))


def _zstd(block: bytes, level: int) -> bytes:
    # Here because most layers are gzip, and their tools start faster without it.
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_content_size=True).compress(block)


def _none(block: bytes, _level: int) -> bytes:
    return block


# Sizes and default levels are part of the output's identity.
METHODS = {
    "gzip": Method(_gzip, _MIB, 6, range(1, 13), ".tar.gz"),
    "zstd": Method(_zstd, 8 * _MIB, 9, range(1, 23), ".tar.zst"),
    "none": Method(_none, _MIB, 0, range(1), ".tar"),
}


def method_of(name: str) -> str:
    """Return the method that a file's extension stands for; raise ToolError."""
    for method, properties in METHODS.items():
        if name.endswith(properties.extension):
            return method
    known = ", ".join(properties.extension for properties in METHODS.values())
    raise ToolError(f"{name}: the extension must be one of {known}")


def available_cores() -> int:
    """Return how many cores this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0))


class Compressor:
    """A writable that hashes and compresses what it is given and sends it to `sink`.

    After `close`, `raw_sha256` and `packed_sha256` are the hex digests of what went in and what
    came out, and `packed_size` is the length in bytes of the latter. Raise ToolError for
    an unknown method, or a level it does not have.
    """

    def __init__(
        self,
        sink: BinaryIO,
        *,
        method: str = "gzip",
        level: int | None = None,
        jobs: int | None = None,
    ) -> None:
        if method not in METHODS:
            raise ToolError(f"unknown compression '{method}'; known: {', '.join(METHODS)}")
        self._method = METHODS[method]
        self._level = self._method.default_level if level is None else level
        if self._level not in self._method.levels:
            levels = self._method.levels
            raise ToolError(
                f"{method} has no level {level}, only {levels.start} to {levels.stop - 1}"
            )
        self._sink = sink
        workers = jobs or available_cores()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=method)
        self._pending: collections.deque[Future[bytes]] = collections.deque()
        self._most_pending = 2 * workers + 2  # bounds memory, keeps every worker fed
        self._block = bytearray()
        self._blocks = 0
        self._raw_hash = hashlib.sha256()
        self._packed_hash = hashlib.sha256()
        self.packed_size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:  # the output is worthless: do not wait to finish it
            self._pool.shutdown(cancel_futures=True)

    @property
    def raw_sha256(self) -> str:
        """Hex sha256 of the uncompressed stream."""
        return self._raw_hash.hexdigest()

    @property
    def packed_sha256(self) -> str:
        """Hex sha256 of what went to the sink."""
        return self._packed_hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Add `data` to the stream."""
        view = memoryview(data)
        while view:
            taken = view[: self._method.block_size - len(self._block)]
            self._block += taken
            view = view[len(taken) :]
            if len(self._block) == self._method.block_size:
                self._submit()

    def close(self) -> None:
        """Compress what is left, without closing the sink."""
        # Nothing at all is still one member: no bytes would be no gzip file.
        if self._block or not self._blocks:
            self._submit()
        while self._pending:
            self._emit(self._pending.popleft().result())
        self._pool.shutdown()

    def _submit(self) -> None:
        block = bytes(self._block)
        self._block.clear()
        self._blocks += 1
        self._pending.append(self._pool.submit(self._method.pack, block, self._level))
        self._raw_hash.update(block)
        while len(self._pending) > self._most_pending or (
            self._pending and self._pending[0].done()
        ):
            self._emit(self._pending.popleft().result())

    def _emit(self, data: bytes) -> None:
        self._sink.write(data)
        self._packed_hash.update(data)
        self.packed_size += len(data)
