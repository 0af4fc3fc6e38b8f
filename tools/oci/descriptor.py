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
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.archive.decompress import DecompressionError, Decompressor, sniff
from tools.archive.tar_stream import LayerError, TarStream
from tools.cli import ToolError, parse_json, tool
from tools.image.spec import encode_json
from tools.oci.prefix import prefixed
from tools.worker import run

_CHUNK = 1 << 20


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
    """Read the tar at `path`, compressed or not; it may have no members, or no bytes at all.

    Raise DescriptorError when it is truncated, corrupt or not a tar, and for a member whose name
    leads out of the image.
    """
    stored = hashlib.sha256()
    plain = hashlib.sha256()
    size = 0

    def chunks(stream: IO[bytes], head: bytes) -> Iterator[bytes]:
        nonlocal size
        chunk = head
        while chunk:
            stored.update(chunk)
            size += len(chunk)
            yield chunk
            chunk = stream.read(_CHUNK)

    def hashed(content: Iterable[bytes]) -> Iterator[bytes]:
        for data in content:
            plain.update(data)
            yield data

    with path.open("rb") as stream:
        head = stream.read(_CHUNK)
        compression = sniff(head)
        try:
            content = hashed(Decompressor(chunks(stream, head), compression))
            fault = _fault(content, path)
            # Damaged compression is the better message, and found at the end only.
            for _ in content:
                pass
        except DecompressionError as error:
            raise DescriptorError(f"{path}: {error}") from error
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


def read_descriptor(path: Path) -> LayerDescriptor:
    """Read a descriptor file of this tool or of tools/archive; raise DescriptorError."""
    try:
        value: dict[str, Any] = parse_json(path.read_bytes())
        found = LayerDescriptor(
            compression=value["compression"],
            diff_id=value["diff_id"],
            digest=value["digest"],
            size=value["size"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DescriptorError(f"{path}: is not a layer descriptor: {error!r}") from error
    return found


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
    sys.exit(run(main))
