"""Write an OCI layout directory: JSON documents as files, everything else as relative links.

A link goes from `blobs/sha256/<digest>` out of the directory to the file that holds the bytes, so
that no layer is ever copied. Guarantee: the same arguments give the same files and the same links.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.image.layout import blob_path
from tools.image.spec import OCI_INDEX, Descriptor, encode_json, sha256_digest


def document(value: Any, *, media_type: str) -> tuple[Descriptor, bytes]:
    """Return the descriptor and the bytes of a JSON document."""
    data = encode_json(value)
    return Descriptor(media_type=media_type, digest=sha256_digest(data), size=len(data)), data


def write_layout(
    out: Path, *, root: Descriptor, documents: Iterable[bytes], links: Mapping[str, Path]
) -> None:
    """Fill the directory `out` with a layout whose index.json names `root`.

    `links` maps digests to the files that hold them. Links are relative to `out` and not resolved,
    so the layout is valid wherever those files lie in the same place relative to it. Raise OSError.
    """
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    write_index(out, root)
    written = set()
    for data in documents:
        digest = sha256_digest(data)
        if digest not in written:
            blob_path(out, digest).write_bytes(data)
            written.add(digest)
    for digest, file in sorted(links.items()):
        if digest not in written:
            blob_path(out, digest).symlink_to(os.path.relpath(file, start=blobs))


def write_index(out: Path, root: Descriptor) -> None:
    """Write the two files that make a directory of blobs a layout."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [root.to_json()]}
    (out / "oci-layout").write_bytes(encode_json({"imageLayoutVersion": "1.0.0"}))
    (out / "index.json").write_bytes(encode_json(index))


def write_digest(file: Path, digest: str) -> None:
    """Write the file behind a `<name>.digest` target."""
    file.write_bytes(f"{digest}\n".encode("ascii"))
