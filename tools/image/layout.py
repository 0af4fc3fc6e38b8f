"""Read an OCI image layout directory and verify everything but the layers' bytes.

    image = read_layout(Path("bazel-bin/backend/image"))

A layout (OCI image-layout.md 1.1) is a directory with `oci-layout`, `index.json` and
`blobs/sha256/*`. Blobs may be symbolic links, also relative ones: that is how the rules share
layers. Every JSON document is verified by the digest and size that refer to it, and every layer
file by its size; `verify_layers` verifies the layers' bytes as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, parse_json
from tools.image import spec
from tools.image.spec import Descriptor, SpecError

_CHUNK = 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")
# What `cosign save` and tools/attest list in index.json beside the image, and the tags of it.
_SIGNATURE_KINDS = ("dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts")
_SIGNATURE_TAG = re.compile(r"sha256-[0-9a-f]{64}\.(sig|att)")


class LayoutError(ToolError):
    """A layout is invalid, or not what its reader needs; the message names file and cause."""


class MissingBlobError(LayoutError):
    """A layout lacks the blob of `descriptor`."""

    def __init__(self, message: str, descriptor: Descriptor) -> None:
        super().__init__(message)
        self.descriptor = descriptor


@dataclass(frozen=True)
class Layer:
    """One layer: `size` in bytes as stored; `diff_id` is the digest of the uncompressed tar."""

    digest: str
    size: int
    media_type: str
    diff_id: str
    path: Path

    @property
    def compression(self) -> str:
        """'gzip', 'zstd' or 'none'."""
        return spec.layer_compression(self.media_type)


@dataclass(frozen=True)
class Image:
    """One image of one platform. `manifest` and `config` are the parsed documents, unchanged."""

    digest: str
    media_type: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Layout:
    """A layout directory and the descriptor of the document in its index.json."""

    path: Path
    root: Descriptor

    def blob(self, digest: str) -> Path:
        """Return the path of a blob."""
        return blob_path(self.path, digest)


def read_layout(path: Path) -> Image:
    """Read the layout directory at `path`, which must hold exactly one image.

    Raise LayoutError, with the file and the cause, for a missing or malformed file, a wrong digest
    or size, more than one manifest, or an image index.
    """
    layout = open_layout(path)
    if layout.root.media_type in spec.INDEX_TYPES:
        count = len(read_children(layout, layout.root))
        raise LayoutError(
            f"{path}: is an image index ({layout.root.media_type}) of {count} image(s), "
            "and one image is needed; pass the target of one platform"
        )
    return read_image(layout, layout.root)


def open_layout(path: Path) -> Layout:
    """Check `oci-layout` and `index.json` of the directory at `path`; its root may be an index.

    Raise LayoutError as `read_layout` does, except for an image index.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise LayoutError(f"{path}: an OCI layout directory is needed here, found {found}")
    marker = _read_object(path / "oci-layout")
    if marker.get("imageLayoutVersion") != "1.0.0":
        raise LayoutError(
            f"{path / 'oci-layout'}: imageLayoutVersion must be '1.0.0', "
            f"found {marker.get('imageLayoutVersion')!r}"
        )
    index_file = path / "index.json"
    manifests = _read_object(index_file).get("manifests")
    if not isinstance(manifests, list):
        raise LayoutError(f"{index_file}: member 'manifests' must be a list")
    manifests = [each for each in manifests if not _is_signature(each)]
    if len(manifests) != 1:
        raise LayoutError(f"{index_file}: exactly one manifest is needed, found {len(manifests)}")
    root = _descriptor(manifests[0], index_file)
    if root.media_type not in spec.INDEX_TYPES | spec.MANIFEST_TYPES:
        raise LayoutError(
            f"{index_file}: '{root.media_type}' is neither an image manifest nor an image index"
        )
    return Layout(path=path, root=root)


def _is_signature(entry: Any) -> bool:
    """Return whether an entry of index.json is what `cosign save` puts beside the image."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    if not isinstance(annotations, dict):
        return False
    name = str(annotations.get("org.opencontainers.image.ref.name", ""))
    return annotations.get("kind") in _SIGNATURE_KINDS or bool(_SIGNATURE_TAG.fullmatch(name))


def read_children(layout: Layout, index: Descriptor) -> tuple[Descriptor, ...]:
    """Return the descriptors in an image index of the layout, in its order."""
    file = layout.blob(index.digest)
    document = read_document(layout, index)
    manifests = document.get("manifests")
    if not isinstance(manifests, list):
        raise LayoutError(f"{file}: member 'manifests' must be a list")
    return tuple(_descriptor(each, file) for each in manifests)


def read_image(layout: Layout, descriptor: Descriptor, *, layers_needed: bool = True) -> Image:
    """Read the image with the manifest of `descriptor`; raise LayoutError.

    Without `layers_needed`, files of layers may be missing.
    """
    file = layout.blob(descriptor.digest)
    manifest = read_document(layout, descriptor)
    declared = manifest.get("mediaType", descriptor.media_type)
    if declared != descriptor.media_type:
        raise LayoutError(
            f"{file}: the manifest's media type is '{declared}', "
            f"its descriptor says '{descriptor.media_type}'"
        )
    entries = manifest.get("layers")
    if not isinstance(entries, list):
        raise LayoutError(f"{file}: member 'layers' must be a list")
    config_descriptor = _descriptor(manifest.get("config"), file)
    config = read_document(layout, config_descriptor)
    descriptors = [_descriptor(each, file) for each in entries]
    diff_ids = _diff_ids(config, layout.blob(config_descriptor.digest), len(descriptors))
    layers = tuple(
        _layer(layout, each, diff_id, file, needed=layers_needed)
        for each, diff_id in zip(descriptors, diff_ids, strict=True)
    )
    return Image(
        digest=descriptor.digest,
        media_type=descriptor.media_type,
        manifest=manifest,
        config=config,
        layers=layers,
    )


def read_document(layout: Layout, descriptor: Descriptor) -> dict[str, Any]:
    """Parse the JSON blob of `descriptor`, verified by its digest and size."""
    return _parse_object(read_blob(layout, descriptor), layout.blob(descriptor.digest))


def read_blob(layout: Layout, descriptor: Descriptor) -> bytes:
    """Return the blob of `descriptor`, verified by its digest and size."""
    file = layout.blob(descriptor.digest)
    try:
        data = _read_bytes(file)
    except LayoutError as error:
        if file.exists():
            raise
        raise MissingBlobError(str(error), descriptor) from error
    if len(data) != descriptor.size:
        raise LayoutError(f"{file}: has {len(data)} bytes, its descriptor says {descriptor.size}")
    actual = spec.sha256_digest(data)
    if actual != descriptor.digest:
        raise LayoutError(f"{file}: its content has digest {actual}, which differs from its name")
    return data


def verify_layers(image: Image) -> None:
    """Verify the digest of every layer of `image`; raise LayoutError for the first wrong one."""
    for layer in image.layers:
        digest = hashlib.sha256()
        with layer.path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        actual = "sha256:" + digest.hexdigest()
        if actual != layer.digest:
            raise LayoutError(f"{layer.path}: its content has digest {actual}, not {layer.digest}")


def blob_path(layout: Path, digest: str) -> Path:
    """Return the path of a blob in a layout directory."""
    algorithm, _, encoded = digest.partition(":")
    return layout / "blobs" / algorithm / encoded


def _layer(
    layout: Layout, descriptor: Descriptor, diff_id: str, manifest: Path, *, needed: bool
) -> Layer:
    try:
        spec.layer_compression(descriptor.media_type)
    except SpecError as error:
        raise LayoutError(f"{manifest}: {error}") from error
    return Layer(
        digest=descriptor.digest,
        size=descriptor.size,
        media_type=descriptor.media_type,
        diff_id=diff_id,
        path=blob_file(layout, descriptor) if needed else layout.blob(descriptor.digest),
    )


def blob_file(layout: Layout, descriptor: Descriptor) -> Path:
    """Return the file of a layer, of the size that its manifest says; raise LayoutError."""
    path = layout.blob(descriptor.digest)
    try:
        size = path.stat().st_size
    except OSError as error:
        target = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        raise LayoutError(
            f"{path}{target}: layer blob cannot be read: {error.strerror}; "
            "a rule that passes a layout on must pass its runfiles on too"
        ) from error
    if size != descriptor.size:
        raise LayoutError(f"{path}: layer has {size} bytes, the manifest says {descriptor.size}")
    return path


def _diff_ids(config: dict[str, Any], file: Path, count: int) -> list[str]:
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    # Docker writes null for an image without layers.
    diff_ids = [] if diff_ids is None and count == 0 else diff_ids
    if not isinstance(diff_ids, list) or not all(isinstance(each, str) for each in diff_ids):
        raise LayoutError(f"{file}: member 'rootfs.diff_ids' must be a list of digests")
    if len(diff_ids) != count:
        raise LayoutError(f"{file}: has {len(diff_ids)} diff_ids, the manifest has {count} layers")
    return diff_ids


def _descriptor(value: Any, file: Path) -> Descriptor:
    try:
        return spec.parse_descriptor(value)
    except SpecError as error:
        raise LayoutError(f"{file}: {error}") from error


def _read_object(file: Path) -> dict[str, Any]:
    return _parse_object(_read_bytes(file), file)


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise LayoutError(f"{file}: cannot be read: {error.strerror}") from error


def _parse_object(data: bytes, file: Path) -> dict[str, Any]:
    try:
        value = parse_json(data)
        if b"\\u" in data:
            # JSON may escape half a surrogate pair, which is no character; Go reads U+FFFD.
            text = json.dumps(value, ensure_ascii=False)
            value = json.loads(_SURROGATE.sub("\ufffd", text))
    except ValueError as error:
        raise LayoutError(f"{file}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise LayoutError(f"{file}: must hold a JSON object, found {type(value).__name__}")
    return value
