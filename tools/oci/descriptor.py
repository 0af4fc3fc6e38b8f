"""A layer tar → its descriptor: compression, both digests and size.

    descriptor --label //app:image --layer app.tar.gz --output app.descriptor.json

The compression is told by the bytes, never by the name. One pass over the file; the same bytes give
the same JSON. `diff_id` (image-spec config.md) is the digest of the uncompressed tar,
`digest` and `size` (bytes) are those of the file. Layers of our own rules come with a descriptor
(LayerInfo); this tool is for all others.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.archive.tar_stream import LayerError, TarStream
from tools.cli import ToolError, tool
from tools.image.spec import encode_json
from tools.oci.prefix import prefixed

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_TAR_BLOCK = 512


class DescriptorError(ToolError):
    """A layer or its descriptor cannot be used; the message names the file and the cause."""


@dataclass(frozen=True)
class LayerDescriptor:
    """What an image states of a layer. `compression` is 'gzip', 'zstd' or 'none'; size in bytes."""

    compression: str
    diff_id: str
    digest: str
    size: int


def describe_layer(path: Path) -> LayerDescriptor:
    """Read the tar at `path`, compressed or not.

    Raise DescriptorError when it is truncated, corrupt or not a tar, and for a member whose name
    leads out of the image.
    """
    stored = hashlib.sha256()
    plain = hashlib.sha256()
    size = 0
    plain_size = 0

    def chunks(stream: IO[bytes], head: bytes) -> Iterator[bytes]:
        nonlocal size
        chunk = head
        while chunk:
            stored.update(chunk)
            size += len(chunk)
            yield chunk
            chunk = stream.read(_CHUNK)

    def hashed(content: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal plain_size
        for data in content:
            plain.update(data)
            plain_size += len(data)
            yield data

    with path.open("rb") as stream:
        head = stream.read(_CHUNK)
        compression = sniff(head)
        content = hashed(_decompressed(chunks(stream, head), compression=compression, path=path))
        fault = _fault(content, path)
        for _ in content:
            pass
    if plain_size == 0 or plain_size % _TAR_BLOCK:
        raise DescriptorError(
            f"{path}: is not a tar: its {plain_size} uncompressed bytes are not whole blocks "
            f"of {_TAR_BLOCK}; it may have been cut short"
        )
    if fault is not None:
        raise fault
    return LayerDescriptor(
        compression=compression,
        diff_id="sha256:" + plain.hexdigest(),
        digest="sha256:" + stored.hexdigest(),
        size=size,
    )


def _fault(content: Iterator[bytes], path: Path) -> DescriptorError | None:
    """Return what is wrong with a tar, if anything; read no further than that."""
    try:
        for header in TarStream(content, source=str(path)):
            names = [header.name, header.linkname] if header.kind == "hardlink" else [header.name]
            for name in names:
                if name.startswith("/"):
                    return DescriptorError(
                        f"{path}: member '{name}' has an absolute name; make the tar with names "
                        "relative to the image's root"
                    )
                if ".." in name.split("/"):
                    return DescriptorError(f"{path}: member '{name}' climbs out with '..'")
    except LayerError as error:
        return DescriptorError(str(error))
    return None


def sniff(head: bytes) -> str:
    """The compression that the first bytes of a file announce: 'gzip', 'zstd' or 'none'."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD_MAGIC) else "none"


def read_descriptor(path: Path) -> LayerDescriptor:
    """Read a descriptor file of this tool or of tools/archive; raise DescriptorError."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        found = LayerDescriptor(
            compression=value["compression"],
            diff_id=value["diff_id"],
            digest=value["digest"],
            size=value["size"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DescriptorError(f"{path}: is not a layer descriptor: {error!r}") from error
    return found


def _decompressed(chunks: Iterator[bytes], *, compression: str, path: Path) -> Iterator[bytes]:
    if compression == "gzip":
        return _gunzipped(chunks, path)
    if compression == "zstd":
        return _unzstded(chunks, path)
    return chunks


def _gunzipped(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Every member of a gzip file: parallel compressors write more than one (RFC 1952, 2.2)."""
    member = zlib.decompressobj(wbits=31)
    started = False
    for chunk in chunks:
        data = chunk
        while data:
            if member.eof:
                # Zero padding after the last member is legal tape practice; gzip(1) accepts it.
                data = data.lstrip(b"\0")
                if not data:
                    break
                member = zlib.decompressobj(wbits=31)
            started = True
            try:
                yield member.decompress(data)
            except zlib.error as error:
                raise DescriptorError(f"{path}: gzip data is corrupt: {error}") from error
            data = member.unused_data
    if started and not member.eof:
        raise DescriptorError(f"{path}: gzip data ends before its end mark; the file is cut short")


def _unzstded(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise DescriptorError(
            f"{path}: is compressed with zstd, and the Python package 'zstandard' is missing; "
            "add it to the dependencies of //tools/oci:descriptor, or compress the layer with gzip"
        ) from error
    frame = zstandard.ZstdDecompressor().decompressobj()
    ended = True
    for chunk in chunks:
        data = chunk
        while data:
            if ended:
                frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                raise DescriptorError(f"{path}: zstd data is corrupt: {error}") from error
            ended = frame.eof
            data = frame.unused_data if ended else b""
    if not ended:
        raise DescriptorError(f"{path}: zstd data ends before its end mark; the file is cut short")


@tool("oci_descriptor")
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--label", required=True, help="the target, for messages")
    parser.add_argument("--layer", type=Path, required=True, help="the tar, compressed or not")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    flags = parser.parse_args(argv)
    with prefixed(flags.label):
        flags.output.write_bytes(encode_json(vars(describe_layer(flags.layer))))


if __name__ == "__main__":
    sys.exit(main())
