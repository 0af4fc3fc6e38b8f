"""Compresses a stream to one gzip member on several threads, the bytes independent of how many.

    with open("layer.tar.gz", "wb") as out, BlockGzip(out, jobs=2) as gz:
        gz.write(b"...")

The stream is cut into blocks of a fixed size. Each block is deflated on its own (RFC 1951), primed
with the 32 KiB before it so that matches reach back as in a plain gzip, and ends on a byte boundary
by a sync flush, so the pieces concatenate to one valid deflate stream; the last one carries the
final bit. Cutting depends on the content alone, so the same input gives the same bytes for any
number of threads. Threads, not processes: zlib gives up the interpreter lock while it works.
"""

import collections
import hashlib
import os
import struct
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Self

# Large enough that a sync flush (5 bytes) and a restarted Huffman table cost nothing measurable,
# small enough that a 10 MB layer still keeps several threads busy. Part of the output's identity.
BLOCK_SIZE = 512 * 1024
WINDOW_SIZE = 32 * 1024
DEFAULT_LEVEL = 6
# Fewer symbols per Huffman table than zlib's usual 8: Debian's libraries get 0.6 % smaller.
MEMORY_LEVEL = 7

_RAW = -15  # zlib's wbits for a full window without zlib's header and trailer

# RFC 1952: magic, deflate, no flags, mtime 0, no extra flags, OS 255 (unknown): a real clock or
# operating system here would differ between machines.
_HEADER = b"\x1f\x8b\x08\x00" + struct.pack("<IBB", 0, 0, 255)


def available_cores() -> int:
    """Returns how many cores this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0))


class BlockGzip:
    """A writable that hashes and compresses what it is given and sends it to `sink`.

    After `close`, `raw_sha256` and `packed_sha256` are the hex digests of what went in and what
    came out, and `packed_size` is the length in bytes of the latter.
    """

    def __init__(
        self, sink: BinaryIO, *, jobs: int | None = None, level: int = DEFAULT_LEVEL
    ) -> None:
        self._sink = sink
        self._level = level
        workers = jobs or available_cores()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="deflate")
        self._pending: collections.deque[Future[bytes]] = collections.deque()
        self._most_pending = 2 * workers + 2  # bounds memory, keeps every worker fed
        self._block = bytearray()
        self._window = b""
        self._crc = 0
        self._raw_size = 0
        self._raw_hash = hashlib.sha256()
        self._packed_hash = hashlib.sha256()
        self.packed_size = 0
        self._emit(_HEADER)

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
        """Hex sha256 of the gzip member."""
        return self._packed_hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Adds `data` to the stream."""
        view = memoryview(data)
        while view:
            # Keep one full block back: whether it is the last is known only when more comes.
            if len(self._block) == BLOCK_SIZE:
                self._submit(last=False)
            taken = view[: BLOCK_SIZE - len(self._block)]
            self._block += taken
            view = view[len(taken) :]

    def close(self) -> None:
        """Compresses what is left and writes the trailer; does not close the sink."""
        self._submit(last=True)
        while self._pending:
            self._emit(self._pending.popleft().result())
        self._pool.shutdown()
        self._emit(struct.pack("<II", self._crc, self._raw_size & 0xFFFFFFFF))

    def _submit(self, *, last: bool) -> None:
        block = bytes(self._block)
        self._block.clear()
        flush = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
        self._pending.append(self._pool.submit(_deflate, block, self._window, self._level, flush))
        self._window = block[-WINDOW_SIZE:]
        self._crc = zlib.crc32(block, self._crc)
        self._raw_size += len(block)
        self._raw_hash.update(block)
        while len(self._pending) > self._most_pending or (
            self._pending and self._pending[0].done()
        ):
            self._emit(self._pending.popleft().result())

    def _emit(self, data: bytes) -> None:
        self._sink.write(data)
        self._packed_hash.update(data)
        self.packed_size += len(data)


def _deflate(block: bytes, window: bytes, level: int, flush: int) -> bytes:
    """Returns `block` as raw deflate blocks whose matches may reach into `window`."""
    # An empty zdict is an error to zlib, hence the two calls.
    if window:
        deflate = zlib.compressobj(level, zlib.DEFLATED, _RAW, MEMORY_LEVEL, zdict=window)
    else:
        deflate = zlib.compressobj(level, zlib.DEFLATED, _RAW, MEMORY_LEVEL)
    packed = deflate.compress(block)
    return packed + deflate.flush(flush)
