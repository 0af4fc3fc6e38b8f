"""Small, real layouts for the tests of this folder: every blob is there and every digest true."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data: bytes) -> str:
    """Computed here, not by the code under test."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_bytes(files: dict[str, bytes]) -> bytes:
    """A plain tar of `files`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@functools.lru_cache(maxsize=8)  # Tests of a file make the same layers again and again.
def gzip_bytes(data: bytes) -> bytes:
    """`data` in gzip, without a time."""
    return gzip.compress(data, mtime=0)


def put_blob(layout: Path, data: bytes) -> str:
    """Store `data` as a blob of the layout and return its digest."""
    digest = digest_of(data)
    file = layout / "blobs" / digest.replace(":", "/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return digest


def put_json(layout: Path, value: Any) -> tuple[str, int]:
    """Store a JSON document; returns its digest and size in bytes."""
    data = json.dumps(value).encode()
    return put_blob(layout, data), len(data)


def finish_layout(layout: Path, descriptor: dict[str, Any]) -> None:
    """Write the two fixed files of a layout."""
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def make_layout(
    layout: Path,
    *,
    layers: list[bytes],
    media_type: str = OCI_MANIFEST,
    config_extra: dict[str, Any] | None = None,
    manifest_extra: dict[str, Any] | None = None,
    layer_type: str | None = None,
) -> str:
    """Write an image with the given plain tars as gzip layers; returns the manifest's digest."""
    docker = "docker" in media_type
    layer_type = layer_type or (
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
        if docker
        else "application/vnd.oci.image.layer.v1.tar+gzip"
    )
    config_type = (
        "application/vnd.docker.container.image.v1+json"
        if docker
        else "application/vnd.oci.image.config.v1+json"
    )
    entries = []
    for tar in layers:
        blob = gzip_bytes(tar)
        entries.append(
            {"mediaType": layer_type, "digest": put_blob(layout, blob), "size": len(blob)}
        )
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in layers]},
        **(config_extra or {}),
    }
    config_digest, config_size = put_json(layout, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": config_digest, "size": config_size},
        "layers": entries,
        **(manifest_extra or {}),
    }
    digest, size = put_json(layout, manifest)
    finish_layout(layout, {"mediaType": media_type, "digest": digest, "size": size})
    return digest


def make_artifact(layout: Path, **members: Any) -> dict[str, Any]:
    """Store a manifest without a platform whose layer no engine knows; return its entry."""
    blob = b"statement"
    entry = {
        "mediaType": "application/vnd.in-toto+json",
        "digest": put_blob(layout, blob),
        "size": len(blob),
    }
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": put_blob(layout, b"{}")}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x",
        "config": {**empty, "size": 2},
        "layers": [entry],
        **members,
    }
    digest, size = put_json(layout, manifest)
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": size}


def make_index(layout: Path, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Store an index and make it the root of the layout; return its entry."""
    media_type = "application/vnd.oci.image.index.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    digest, size = put_json(layout, document)
    entry = {"mediaType": media_type, "digest": digest, "size": size}
    finish_layout(layout, entry)
    return entry


def root_entry(layout: Path) -> dict[str, Any]:
    """The descriptor in the index.json of a layout."""
    entry: dict[str, Any] = json.loads((layout / "index.json").read_text())["manifests"][0]
    return entry
