"""What of a layout has to be in the registry, in the order in which it may be put there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.oci import spec
from tools.oci.index import platform_of
from tools.oci.layout import Layout, LayoutError, open_layout, read_children, read_image
from tools.oci.spec import Descriptor


@dataclass(frozen=True)
class Blob:
    """A config or layer to upload."""

    descriptor: Descriptor
    path: Path


@dataclass(frozen=True)
class Manifest:
    """A manifest or index to store, with its bytes."""

    descriptor: Descriptor
    data: bytes


@dataclass(frozen=True)
class Plan:
    """Blobs in any order; manifests in this one, the root last: each needs those before it."""

    blobs: tuple[Blob, ...]
    manifests: tuple[Manifest, ...]

    @property
    def root(self) -> Manifest:
        """The manifest that tags will name."""
        return self.manifests[-1]


def make_plan(path: Path, *, platform: str | None, nondistributable: bool) -> Plan:
    """Plan the push of the layout at `path`, an image or an index of images.

    `platform` (`os/arch[/variant]`) picks one image of an index. `nondistributable` includes
    layers that registries may refuse to store. Raises LayoutError.
    """
    layout = open_layout(path)
    root = layout.root
    if platform is not None and root.media_type in spec.INDEX_TYPES:
        root = _choose(layout, platform)
    blobs: dict[str, Blob] = {}
    manifests: dict[str, Manifest] = {}
    for descriptor in _depth_first(layout, root):
        file = layout.blob(descriptor.digest)
        manifests[descriptor.digest] = Manifest(descriptor, file.read_bytes())
        if descriptor.media_type in spec.INDEX_TYPES:
            continue
        image = read_image(layout, descriptor)
        for entry in [image.manifest["config"], *image.manifest["layers"]]:
            blob = spec.parse_descriptor(entry)
            foreign = any(mark in blob.media_type for mark in spec.NONDISTRIBUTABLE_MARKS)
            if nondistributable or not foreign:
                blobs[blob.digest] = Blob(blob, layout.blob(blob.digest))
    # The largest first, so that the last upload to end is a short one.
    ordered = sorted(
        blobs.values(), key=lambda blob: (-blob.descriptor.size, blob.descriptor.digest)
    )
    return Plan(blobs=tuple(ordered), manifests=tuple(manifests.values()))


def _depth_first(layout: Layout, descriptor: Descriptor) -> Iterator[Descriptor]:
    """Children before the index that lists them."""
    if descriptor.media_type in spec.INDEX_TYPES:
        for child in read_children(layout, descriptor):
            yield from _depth_first(layout, child)
    yield descriptor


def _choose(layout: Layout, platform: str) -> Descriptor:
    found = []
    for child in read_children(layout, layout.root):
        stated = child.member("platform") or platform_of(read_image(layout, child).config)
        names = _platform_names(stated)
        if platform in names:
            return child
        found.append(names[0])
    raise LayoutError(f"{layout.path}: has no image for {platform}; it has {', '.join(found)}")


def _platform_names(platform: dict[str, Any]) -> list[str]:
    """A platform's full name, and its name without the variant."""
    short = f"{platform.get('os')}/{platform.get('architecture')}"
    return [f"{short}/{platform['variant']}", short] if platform.get("variant") else [short]
