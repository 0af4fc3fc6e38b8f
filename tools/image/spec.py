"""Media types, descriptors and the one JSON encoder of OCI documents.

Media types follow the OCI image specification 1.1 (media-types.md, descriptor.md) and Docker's
"Image Manifest Version 2, Schema 2". Nothing here reads or writes a file.

Guarantee: `encode_json` returns the same bytes for equal values, whatever the order of their keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from tools.cli import ToolError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
# Layers that a registry may refuse to store: their bytes are at the `urls` of the descriptor.
NONDISTRIBUTABLE_MARKS = ("nondistributable", "foreign")

# The default time of an image, as upstream's.
EPOCH = "1970-01-01T00:00:00Z"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Layer types without compression, the separator of a compression, the type of the other family.
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_LAYER_FAMILIES = (
    (OCI_LAYER, "+", DOCKER_LAYER),
    (DOCKER_LAYER, ".", OCI_LAYER),
    (_OCI_FOREIGN, "+", _DOCKER_FOREIGN),
    (_DOCKER_FOREIGN, ".", _OCI_FOREIGN),
)
_LAYER_COMPRESSIONS = ("gzip", "zstd", "none")


class SpecError(ToolError):
    """A document violates the specification."""


@dataclass(frozen=True)
class Descriptor:
    """A reference to content: its type, digest and size in bytes.

    `extra` keeps the optional members (annotations, urls, platform, ...) as they were read.
    """

    media_type: str
    digest: str
    size: int
    extra: tuple[tuple[str, Any], ...] = ()

    def member(self, name: str) -> Any:
        """Return the optional member `name`, or None."""
        return dict(self.extra).get(name)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as JSON of the specification."""
        required = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**dict(self.extra), **required}


def parse_descriptor(value: Any) -> Descriptor:
    """Read a descriptor from parsed JSON; raise SpecError naming the invalid member."""
    if not isinstance(value, dict):
        raise SpecError(f"a descriptor must be an object, found {_shown(value)}")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not media_type:
        raise SpecError(
            f"descriptor member 'mediaType' must be a string, found {_shown(media_type)}"
        )
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise SpecError(
            "descriptor member 'digest' must be 'sha256:' and 64 lower-case hexadecimal digits, "
            f"found {_shown(digest)}"
        )
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise SpecError(f"descriptor member 'size' must be a count of bytes, found {_shown(size)}")
    extra = tuple((k, v) for k, v in value.items() if k not in ("mediaType", "digest", "size"))
    return Descriptor(media_type=media_type, digest=digest, size=size, extra=extra)


def encode_json(value: Any) -> bytes:
    """Return the canonical bytes of `value`: sorted keys, no white space, UTF-8, no NaN.

    Raise SpecError for a value that JSON or UTF-8 cannot express.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise SpecError(f"value cannot be written as JSON: {error}") from error


def sha256_digest(data: bytes) -> str:
    """Return the digest of `data` as in a descriptor."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Return whether a text is a digest: `sha256:` and 64 lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def layer_compression(media_type: str) -> str:
    """Return 'gzip', 'zstd' or 'none' for a layer type of OCI or Docker; raise SpecError else."""
    return _layer_parts(media_type)[1]


def convert_layer_type(media_type: str, *, docker: bool) -> str:
    """Return the layer type in Docker's family, or in OCI's; raise SpecError for other types."""
    stem, compression, counterpart = _layer_parts(media_type)
    if is_docker(media_type) != docker:
        stem = counterpart
    return stem if compression == "none" else f"{stem}{'.' if docker else '+'}{compression}"


def layer_media_type(compression: str, *, docker: bool) -> str:
    """Return the layer type of a compression ('gzip', 'zstd', 'none') in one of the families."""
    if compression not in _LAYER_COMPRESSIONS:
        raise SpecError(f"unknown layer compression '{compression}'; known: gzip, zstd, none")
    if compression == "none":
        return DOCKER_LAYER if docker else OCI_LAYER
    return f"{DOCKER_LAYER}.{compression}" if docker else f"{OCI_LAYER}+{compression}"


def is_docker(media_type: str) -> bool:
    """Return whether a media type belongs to Docker's family."""
    return media_type.startswith("application/vnd.docker.")


def _layer_parts(media_type: str) -> tuple[str, str, str]:
    """Return stem, compression, and the stem of the other family."""
    for stem, mark, counterpart in _LAYER_FAMILIES:
        if media_type == stem:
            return stem, "none", counterpart
        compression = media_type.removeprefix(stem + mark)
        if compression != media_type and compression in ("gzip", "zstd"):
            return stem, compression, counterpart
    raise SpecError(f"'{media_type}' is not a layer type of the OCI or the Docker specification")


def _shown(value: Any) -> str:
    """Quote a bad value, shortened if it would hide the message."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
