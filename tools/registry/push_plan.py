"""The blobs and manifests of a layout, in the order in which a registry accepts them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.image import spec
from tools.image.layout import Layout, LayoutError, open_layout
from tools.image.platform import listing
from tools.image.references import choose_image, offers, platform_of, walk
from tools.image.spec import Descriptor


@dataclass(frozen=True)
class Blob:
    """A config or layer to upload; `name` is shown: `linux/arm64 layer 3/7`."""

    descriptor: Descriptor
    path: Path
    name: str


@dataclass(frozen=True)
class Manifest:
    """A manifest or index to store, with its bytes."""

    descriptor: Descriptor
    data: bytes


@dataclass(frozen=True)
class Plan:
    """Blobs in any order; manifests in theirs, the root last: each needs those before it."""

    blobs: tuple[Blob, ...]
    manifests: tuple[Manifest, ...]

    @property
    def root(self) -> Manifest:
        """The manifest that tags will point to."""
        return self.manifests[-1]


def make_plan(path: Path, *, platform: str | None, nondistributable: bool) -> Plan:
    """Plan the push of the layout at `path`, an image or an index of images.

    `platform` (`os/arch[/variant]`) selects one image of an index. `nondistributable` includes
    layers that registries may refuse to store. Raise LayoutError.
    """
    layout = open_layout(path)
    root = choose_root(layout, platform)
    blobs: dict[str, Blob] = {}
    manifests: dict[str, Manifest] = {}
    for descriptor, parts in walk(layout, root):
        file = layout.blob(descriptor.digest)
        if descriptor.media_type not in spec.INDEX_TYPES | spec.MANIFEST_TYPES:
            # Not a manifest to a registry: content that an index names.
            name = f"{descriptor.media_type} of the index"
            blobs.setdefault(descriptor.digest, Blob(descriptor, file, name))
            continue
        manifests[descriptor.digest] = Manifest(descriptor, file.read_bytes())
        # In an index, a shared layer is named after the first image that has it.
        whose = f"{platform_of(layout, descriptor)} " if parts and descriptor != root else ""
        for position, blob in enumerate(parts):
            name = f"{whose}layer {position}/{len(parts) - 1}" if position else f"{whose}config"
            foreign = any(mark in blob.media_type for mark in spec.NONDISTRIBUTABLE_MARKS)
            if nondistributable or not foreign:
                blobs.setdefault(blob.digest, Blob(blob, layout.blob(blob.digest), name))
    # The largest first, so that the uploads end at about the same time.
    ordered = sorted(
        blobs.values(), key=lambda blob: (-blob.descriptor.size, blob.descriptor.digest)
    )
    return Plan(blobs=tuple(ordered), manifests=tuple(manifests.values()))


def choose_root(layout: Layout, platform: str | None) -> Descriptor:
    """Return the root of a layout, or the image for `platform` if the root is an index.

    Raise LayoutError when the index has none for it.
    """
    if platform is not None and layout.root.media_type in spec.INDEX_TYPES:
        return _choose(layout, platform)
    return layout.root


def _choose(layout: Layout, platform: str) -> Descriptor:
    chosen = choose_image(layout, layout.root, platform)
    if chosen is None:
        names = listing([name for name, _ in offers(layout, layout.root)])
        raise LayoutError(f"{layout.path}: has no image for {platform}; it has {names}")
    return chosen
