"""What of a layout has to be in the registry, in the order in which it may be put there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.image import spec
from tools.image.layout import Layout, LayoutError, open_layout, read_children, read_image
from tools.image.platform import choose, listing, platform_text
from tools.image.spec import Descriptor


@dataclass(frozen=True)
class Blob:
    """A config or layer to upload; `name` says to people which: `linux/arm64 layer 3/7`."""

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
    root = choose_root(layout, platform)
    blobs: dict[str, Blob] = {}
    manifests: dict[str, Manifest] = {}
    for descriptor in _depth_first(layout, root):
        file = layout.blob(descriptor.digest)
        manifests[descriptor.digest] = Manifest(descriptor, file.read_bytes())
        if descriptor.media_type in spec.INDEX_TYPES:
            continue
        image = read_image(layout, descriptor)
        # In an index it matters whose layer it is; one that several images share is the first's.
        whose = f"{platform_text(image.config)} " if root.media_type in spec.INDEX_TYPES else ""
        for position, entry in enumerate([image.manifest["config"], *image.manifest["layers"]]):
            blob = spec.parse_descriptor(entry)
            name = f"{whose}layer {position}/{len(image.layers)}" if position else f"{whose}config"
            foreign = any(mark in blob.media_type for mark in spec.NONDISTRIBUTABLE_MARKS)
            if nondistributable or not foreign:
                blobs.setdefault(blob.digest, Blob(blob, layout.blob(blob.digest), name))
    # The largest first, so that the last upload to end is a short one.
    ordered = sorted(
        blobs.values(), key=lambda blob: (-blob.descriptor.size, blob.descriptor.digest)
    )
    return Plan(blobs=tuple(ordered), manifests=tuple(manifests.values()))


def choose_root(layout: Layout, platform: str | None) -> Descriptor:
    """What of a layout is meant: all of it, or the one image of an index for `platform`.

    Raises LayoutError when an index has none for it.
    """
    if platform is not None and layout.root.media_type in spec.INDEX_TYPES:
        return _choose(layout, platform)
    return layout.root


def _depth_first(layout: Layout, descriptor: Descriptor) -> Iterator[Descriptor]:
    """Children before the index that lists them."""
    if descriptor.media_type in spec.INDEX_TYPES:
        for child in read_children(layout, descriptor):
            yield from _depth_first(layout, child)
    yield descriptor


def _choose(layout: Layout, platform: str) -> Descriptor:
    offers = []
    for child in read_children(layout, layout.root):
        stated = child.member("platform") or read_image(layout, child).config
        offers.append((platform_text(stated), child))
    chosen = choose(offers, platform)
    if chosen is None:
        names = listing([name for name, _ in offers])
        raise LayoutError(f"{layout.path}: has no image for {platform}; it has {names}")
    return chosen
