"""Which documents and layers of an image are still missing from a directory of blobs.

    plan = make_plan(Path("image"), digest="sha256:…", platform="linux/arm64")

Starts at the digest of a manifest or an image index, follows it as far as the blobs at hand allow,
and never asks a network. What is read is verified by its digest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image import spec
from tools.image.layout import Layout, blob_path, read_children, read_document
from tools.image.platform import choose, listing, platform_text, suits
from tools.image.spec import Descriptor


class PullError(Exception):
    """The image is not one that can be pulled as asked; says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is missing; `manifest` is None until the document that must come first is there."""

    manifest: Descriptor | None = None
    document: str | None = None
    blobs: tuple[Descriptor, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The digests of what is missing."""
        return (self.document,) if self.document else tuple(each.digest for each in self.blobs)


def make_plan(directory: Path, *, digest: str, platform: str | None) -> Plan:
    """What of the image is not there; raises PullError and LayoutError."""
    root = _root(directory, digest)
    if root is None:
        return Plan(document=digest)
    manifest = root
    if root.media_type in spec.INDEX_TYPES:
        manifest = choose_manifest(read_children(Layout(directory, root), root), platform=platform)
        if not blob_path(directory, manifest.digest).is_file():
            return Plan(document=manifest.digest)
    document = read_document(Layout(directory, manifest), manifest)
    file = blob_path(directory, manifest.digest)
    if manifest.media_type not in spec.MANIFEST_TYPES or not isinstance(
        document.get("layers"), list
    ):
        raise PullError(f"{file}: '{manifest.media_type}' is not the manifest of an image")
    try:
        config = spec.parse_descriptor(document.get("config"))
        layers = [spec.parse_descriptor(each) for each in document["layers"]]
    except spec.SpecError as error:
        raise PullError(f"{file}: {error}") from error
    wanted = {each.digest: each for each in (config, *layers)}
    missing = [d for d in wanted.values() if not blob_path(directory, d.digest).is_file()]
    if platform and config not in missing:
        _check_platform(read_document(Layout(directory, config), config), platform, digest)
    return Plan(manifest=manifest, blobs=tuple(missing))


def choose_manifest(children: tuple[Descriptor, ...], *, platform: str | None) -> Descriptor:
    """Return the entry of an image index for a platform `os/architecture[/variant]`.

    Raise PullError when it has none, or no platform is given.
    """
    offers = [(platform_text(child.member("platform")), child) for child in children]
    names = listing([name for name, _ in offers])
    if platform is None:
        raise PullError(
            f"is a multi-architecture image, so attribute 'platforms' is required; it has {names}"
        )
    chosen = choose(offers, platform)
    if chosen is None:
        raise PullError(f"has no image for platform {platform}; it has {names}")
    return chosen


def media_type_of(data: bytes, *, source: str) -> str:
    """What a manifest or index is, by its own words or, as OCI allows, by its members."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise PullError(f"{source}: is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise PullError(
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
        raise PullError(f"{file}: '{media_type}' is neither an image manifest nor an image index")
    return Descriptor(media_type, digest, len(data))


def _check_platform(config: dict[str, Any], platform: str, digest: str) -> None:
    found = platform_text(config)
    if not suits(found, platform):
        raise PullError(f"{digest} is an image for {found}, wanted {platform}")
