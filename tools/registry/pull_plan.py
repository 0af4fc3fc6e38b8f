"""The documents and layers of an image that a directory of blobs still lacks.

    plan = make_plan(Path("image"), digest="sha256:…", platform="linux/arm64")

Starts at the digest of a manifest or an image index and follows it as far as there are blobs,
without any network. Everything that is read is verified by its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, parse_json
from tools.image import spec
from tools.image.layout import Layout, MissingBlobError, blob_path, read_document
from tools.image.platform import listing, platform_text, suits
from tools.image.references import choose_image, offers
from tools.image.spec import Descriptor


@dataclass(frozen=True)
class Plan:
    """What is missing; `manifest` is None while the document before it is missing."""

    manifest: Descriptor | None = None
    document: str | None = None
    blobs: tuple[Descriptor, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The digests of what is missing."""
        return (self.document,) if self.document else tuple(each.digest for each in self.blobs)


def make_plan(directory: Path, *, digest: str, platform: str | None) -> Plan:
    """Return what of the image is missing; raise ToolError if it cannot be pulled."""
    root = _root(directory, digest)
    if root is None:
        return Plan(document=digest)
    manifest = root
    if root.media_type in spec.INDEX_TYPES:
        try:
            manifest = choose_manifest(Layout(directory, root), platform=platform)
        except MissingBlobError as error:
            return _fetching(error.descriptor)
        if not blob_path(directory, manifest.digest).is_file():
            return Plan(document=manifest.digest)
    document = read_document(Layout(directory, manifest), manifest)
    file = blob_path(directory, manifest.digest)
    if manifest.media_type not in spec.MANIFEST_TYPES or not isinstance(
        document.get("layers"), list
    ):
        raise ToolError(f"{file}: '{manifest.media_type}' is not the manifest of an image")
    try:
        config = spec.parse_descriptor(document.get("config"))
        layers = [spec.parse_descriptor(each) for each in document["layers"]]
    except spec.SpecError as error:
        raise ToolError(f"{file}: {error}") from error
    wanted = {each.digest: each for each in (config, *layers)}
    missing = [d for d in wanted.values() if not blob_path(directory, d.digest).is_file()]
    if platform and config not in missing:
        _check_platform(read_document(Layout(directory, config), config), platform, digest)
    return Plan(manifest=manifest, blobs=tuple(missing))


def _fetching(descriptor: Descriptor) -> Plan:
    """Return the plan for a document without which no image can be chosen."""
    if descriptor.media_type in spec.INDEX_TYPES | spec.MANIFEST_TYPES:
        return Plan(document=descriptor.digest)
    return Plan(blobs=(descriptor,))


def choose_manifest(layout: Layout, *, platform: str | None) -> Descriptor:
    """Return the manifest in an image index for a platform `os/architecture[/variant]`.

    Raise ToolError when it has none, or no platform is given.
    """
    chosen = choose_image(layout, layout.root, platform) if platform else None
    if chosen is not None:
        return chosen
    names = listing([name for name, _ in offers(layout, layout.root)])
    if platform is None:
        raise ToolError(
            f"is a multi-architecture image, so attribute 'platforms' is required; it has {names}"
        )
    raise ToolError(f"has no image for platform {platform}; it has {names}")


def media_type_of(data: bytes, *, source: str) -> str:
    """Return the media type that a manifest or index states or, as OCI allows, implies."""
    try:
        document = parse_json(data)
    except ValueError as error:
        raise ToolError(f"{source}: is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise ToolError(
            f"{source}: must be a manifest of schemaVersion 2; older ones have no digests to verify"
        )
    declared = document.get("mediaType")
    if isinstance(declared, str) and declared:
        return declared
    return spec.OCI_INDEX if "manifests" in document else spec.OCI_MANIFEST


def _root(directory: Path, digest: str) -> Descriptor | None:
    file = blob_path(directory, digest)
    if not file.is_file():
        return None
    data = file.read_bytes()
    media_type = media_type_of(data, source=str(file))
    if media_type not in spec.MANIFEST_TYPES | spec.INDEX_TYPES:
        raise ToolError(f"{file}: '{media_type}' is neither an image manifest nor an image index")
    return Descriptor(media_type, digest, len(data))


def _check_platform(config: dict[str, Any], platform: str, digest: str) -> None:
    found = platform_text(config)
    if not suits(found, platform):
        raise ToolError(f"{digest} is an image for {found}, wanted {platform}")
