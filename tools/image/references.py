"""What an index and a manifest refer to: blobs to carry along, and images to choose from.

An image that is only carried need not be understood (image-spec 1.1, manifest.md: an unknown media
type is not an error for who stores or copies), so neither a layer's type nor a configuration is
read here unless a platform is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.image import spec
from tools.image.layout import (
    Layout,
    LayoutError,
    blob_file,
    read_blob,
    read_children,
    read_document,
)
from tools.image.platform import UNKNOWN, choose, platform_text
from tools.image.spec import Descriptor, SpecError

_CONFIG_TYPES = frozenset({spec.OCI_CONFIG, spec.DOCKER_CONFIG})


def walk(layout: Layout, root: Descriptor) -> Iterator[tuple[Descriptor, tuple[Descriptor, ...]]]:
    """Yield each document below `root` with its blobs, and an index after those it lists.

    What an index lists that is neither an index nor a manifest has no blobs. Raise LayoutError
    for a missing blob, or one of the wrong size.
    """
    if root.media_type in spec.INDEX_TYPES:
        for child in read_children(layout, root):
            yield from walk(layout, child)
        yield root, ()
    elif root.media_type in spec.MANIFEST_TYPES:
        yield root, _blobs(layout, root)
    else:
        read_blob(layout, root)
        yield root, ()


def _blobs(layout: Layout, manifest: Descriptor) -> tuple[Descriptor, ...]:
    """Return a manifest's config, whose digest is verified, and its layers."""
    file = layout.blob(manifest.digest)
    document = read_document(layout, manifest)
    entries = document.get("layers", [])
    if not isinstance(entries, list):
        raise LayoutError(f"{file}: member 'layers' must be a list")
    try:
        config = spec.parse_descriptor(document.get("config"))
        layers = tuple(spec.parse_descriptor(each) for each in entries)
    except SpecError as error:
        raise LayoutError(f"{file}: {error}") from error
    read_blob(layout, config)
    for layer in layers:
        blob_file(layout, layer)
    return (config, *layers)


def choose_image(layout: Layout, index: Descriptor, platform: str) -> Descriptor | None:
    """Return the manifest for a platform in an index and those inside it; None if there is none.

    Raise MissingBlobError for a document without which the choice cannot be made.
    """
    stated = [
        (platform_text(child.member("platform")), child)
        for child in read_children(layout, index)
        if child.media_type in spec.MANIFEST_TYPES and child.member("platform")
    ]
    return choose(stated, platform) or choose(offers(layout, index), platform)


def offers(layout: Layout, index: Descriptor) -> Iterator[tuple[str, Descriptor]]:
    """Yield the images of an index and of those inside it, each with its platform."""
    for child in read_children(layout, index):
        if child.media_type in spec.INDEX_TYPES:
            yield from offers(layout, child)
        else:
            yield platform_of(layout, child), child


def platform_of(layout: Layout, entry: Descriptor) -> str:
    """Return the platform that an index states for an entry, else that of the image's config."""
    stated = entry.member("platform")
    if isinstance(stated, Mapping):
        return platform_text(stated)
    if entry.media_type not in spec.MANIFEST_TYPES:
        return UNKNOWN
    try:
        config = spec.parse_descriptor(read_document(layout, entry).get("config"))
    except SpecError as error:
        raise LayoutError(f"{layout.blob(entry.digest)}: {error}") from error
    if config.media_type not in _CONFIG_TYPES:
        return UNKNOWN
    return platform_text(read_document(layout, config))
