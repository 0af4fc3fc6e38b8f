"""An OCI layout → one tar stream that container engines load: docker-archive or oci-archive.

docker-archive (the format of `docker save`) is `manifest.json` with the blobs it names, and nothing
of an OCI layout: podman looks for one first and would then drop the healthcheck. Every member has
the same owner, mode and time, so the same layout and tags give the same bytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.image import spec
from tools.image.layout import (
    Image,
    LayoutError,
    blob_path,
    open_layout,
    read_image,
)
from tools.image.references import walk
from tools.image.spec import Descriptor

DOCKER_MANIFEST = "manifest.json"

# rules_oci's constant; a time in 1970 would look broken in listings.
_MTIME = 1672560000
_MODE = 0o755
_RECORD = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file of the archive: its bytes, or the file that holds them."""

    name: str
    content: bytes | Path


def docker_archive(layout: Path, tags: Sequence[str]) -> list[Member]:
    """Return the members of a docker-archive of the layout's one image; raise LayoutError."""
    opened = open_layout(layout)
    if opened.root.media_type in spec.INDEX_TYPES:
        raise LayoutError(
            f"{layout}: is an image index, and a docker-archive holds images; use format = 'oci', "
            "or load the image of one platform"
        )
    image = read_image(opened, opened.root)
    return docker_members(image, blob_path(layout, image.manifest["config"]["digest"]), tags)


def docker_members(
    image: Image, config: bytes | Path, tags: Sequence[str], *, present: int = 0
) -> list[Member]:
    """Return the members of a docker-archive of an image.

    `config` is the file of its configuration, or the bytes to store in its place. The files of the
    first `present` layers are left out, for a Docker that has them; the manifest names them all.
    """
    digest = image.manifest["config"]["digest"]
    if isinstance(config, bytes):
        digest = spec.sha256_digest(config)
    names = {layer.digest: f"{_blob(layer.digest)}.tar.gz" for layer in image.layers}
    paths = {layer.digest: layer.path for layer in image.layers[present:]}
    entry = {
        "Config": _blob(digest),
        "Layers": [names[layer.digest] for layer in image.layers],
        "RepoTags": list(tags),
    }
    return [
        Member(DOCKER_MANIFEST, spec.encode_json([entry])),
        Member(_blob(digest), config),
        *(Member(names[each], path) for each, path in paths.items()),
    ]


@dataclass(frozen=True)
class DockerEntry:
    """What the manifest of a docker-archive says of its image: names of members, as written."""

    config: Any
    layers: tuple[Any, ...]


def read_docker_manifest(document: object, *, source: Path) -> DockerEntry:
    """Return the one image that a `manifest.json` lists; raise LayoutError naming `source`."""
    if not isinstance(document, list) or len(document) != 1 or not isinstance(document[0], dict):
        count = len(document) if isinstance(document, list) else 0
        raise LayoutError(f"{source}: {DOCKER_MANIFEST} must list exactly one image, found {count}")
    layers = document[0].get("Layers") or []
    if not isinstance(layers, list):
        raise LayoutError(f"{source}: {DOCKER_MANIFEST}: Layers must be a list, found {layers!r}")
    return DockerEntry(document[0].get("Config"), tuple(layers))


def oci_archive(layout: Path, tags: Sequence[str]) -> list[Member]:
    """Return the members of an oci-archive of the layout, image or index; raise LayoutError."""
    opened = open_layout(layout)
    blobs = {
        each.digest: opened.blob(each.digest)
        for document, parts in walk(opened, opened.root)
        for each in (document, *parts)
    }
    entries = [_named(opened.root, tag) for tag in tags] or [opened.root.to_json()]
    index = {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": entries}
    return [
        Member("oci-layout", spec.encode_json({"imageLayoutVersion": "1.0.0"})),
        Member("index.json", spec.encode_json(index)),
        *(Member(_blob(digest), path) for digest, path in blobs.items()),
    ]


def write_archive(members: Iterable[Member], stream: IO[bytes]) -> None:
    """Write the members as a tar to a stream that need not seek; raise OSError."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_RECORD) as tar:
        for member in members:
            with ExitStack() as stack:
                if isinstance(member.content, bytes):
                    source: IO[bytes] = io.BytesIO(member.content)
                    size = len(member.content)
                else:
                    source = stack.enter_context(member.content.open("rb"))
                    size = member.content.stat().st_size
                header = tarfile.TarInfo(member.name)
                header.size, header.mode, header.mtime = size, _MODE, _MTIME
                tar.addfile(header, source)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _named(root: Descriptor, tag: str) -> dict[str, object]:
    """Return the root's descriptor, annotated with the name that containerd and podman read."""
    annotations = {
        **(root.member("annotations") or {}),
        "io.containerd.image.name": tag,
        "org.opencontainers.image.ref.name": tag,
    }
    return {**root.to_json(), "annotations": annotations}
