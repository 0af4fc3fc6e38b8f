"""Read the tar archive inside one image layer: verified, decompressed, member by member.

    with open_layer(layer, max_bytes=1 << 30) as stream:
        for header in stream: ...

The layer is read once, front to back. While it streams past, its SHA-256 and size are compared
with the descriptor, and the SHA-256 of the decompressed bytes with the layer's `diff_id`.
Decompression and hashing run in other threads (zlib, libdeflate and hashlib release the interpreter
lock), so that parsing and writing files overlap with them.

A layer is gzip (RFC 1952, several members allowed), zstd when the `zstandard` module is there, or
not compressed; its first bytes say which.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tools.archive.decompress import CHUNK, DecompressionError
from tools.archive.gzip_blocks import read_blocks
from tools.archive.tar_stream import LayerError, TarStream

QUEUE_DEPTH = 96  # Decompressed chunks waiting to be parsed: at most 96 MiB a layer.


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
    try:
        yield from read_blocks(chunks)
    except DecompressionError as error:
        raise LayerError(f"{source}: {error}; build the layer again") from error
