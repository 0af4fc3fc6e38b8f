"""What people call an image → its documents, and its layers once somebody asks for them.

    with open_subject("registry.example/app:v1", here=Path.cwd(), scratch=directory) as subject:
        image = subject.read(subject.entries[0])
        subject.fetch(image.layers)

A name is the path of an OCI layout or of an archive (docker-archive or oci-archive, gzip'd or not),
or else a reference in a registry: HOST/NAME[:TAG][@sha256:…]. Of a registry only what is asked for
is read: manifest and config first, and then the layers that are fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tools.cli import ToolError
from tools.image import spec
from tools.image.layout import (
    Image,
    Layer,
    Layout,
    MissingBlobError,
    blob_path,
    open_layout,
    read_document,
    read_image,
)
from tools.image.names import parse_tag
from tools.image.platform import normalize
from tools.image.references import offers
from tools.image.source import Source, open_path
from tools.image.spec import Descriptor
from tools.registry import pull
from tools.registry.download import fetch_blob, fetch_manifest
from tools.registry.pull_plan import media_type_of

T = TypeVar("T")
_UNKNOWN = "unknown/"  # What an index says of entries that are no image.


@dataclass(frozen=True)
class Entry:
    """One image: its platform, "" where only its config says it, and its manifest's digest."""

    platform: str
    digest: str
    read: Callable[[], Image] = field(repr=False)


@dataclass(frozen=True)
class Subject:
    """One or several images under one name.

    `digest` is that of the image's or the index's document; a docker-archive has no manifest, and
    then it is that of the config, which engines call the image ID. `index` is the document of an
    image index. `fetch` gets the files of layers.
    """

    name: str
    kind: str  # "layout", "docker-archive", "oci-archive" or "registry"
    digest: str
    entries: tuple[Entry, ...]
    index: Mapping[str, object] | None = None
    fetch: Callable[[Iterable[Layer]], None] = field(default=lambda _: None, repr=False)

    @property
    def has_manifest(self) -> bool:
        """Whether the images have a manifest, and with it digests of compressed layers."""
        return self.kind != "docker-archive"


def open_subject(name: str, *, here: Path, scratch: Path) -> Subject:
    """Open what `name` calls an image; `scratch` is an empty directory that outlives the result.

    Raise ToolError or OSError.
    """
    if os.path.lexists(here / name):
        return open_local(here / name, name=name, scratch=scratch)
    if name.startswith((".", "/")):
        raise ToolError(f"{name}: there is no such file or directory")
    return _open_reference(name, scratch)


def open_local(path: Path, *, name: str, scratch: Path) -> Subject:
    """Open a layout or an archive; raise LayoutError or LayerError."""
    opened = open_path(path, scratch=scratch)
    if isinstance(opened, Source):
        image = opened.image
        entry = Entry("", "", lambda: image)
        return Subject(name, opened.kind, image.digest, (entry,))
    layout = open_layout(opened)
    kind = "layout" if opened == path else "oci-archive"
    return _of_layout(name, kind, layout, need=None, fetch=lambda _: None)


def _open_reference(name: str, scratch: Path) -> Subject:
    repository, reference = split_reference(name)
    registry = pull.connect(repository, config=None, environ=os.environ)
    data = fetch_manifest(registry, reference)
    media_type = media_type_of(data, source=name)
    if media_type not in spec.MANIFEST_TYPES | spec.INDEX_TYPES:
        raise ToolError(f"{name}: '{media_type}' is neither an image manifest nor an image index")
    root = Descriptor(media_type, spec.sha256_digest(data), len(data))

    def store(digest: str, content: bytes) -> None:
        file = blob_path(scratch, digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def need(descriptor: Descriptor) -> None:
        if descriptor.media_type in spec.MANIFEST_TYPES | spec.INDEX_TYPES:
            store(descriptor.digest, fetch_manifest(registry, descriptor.digest))
        else:
            fetch_blob(registry, descriptor, blob_path(scratch, descriptor.digest))

    def fetch(layers: Iterable[Layer]) -> None:
        wanted = {
            layer.digest: Descriptor(layer.media_type, layer.digest, layer.size)
            for layer in layers
            if not layer.path.is_file()
        }
        pull.fetch_blobs(registry, scratch, list(wanted.values()))

    store(root.digest, data)
    return _of_layout(name, "registry", Layout(scratch, root), need=need, fetch=fetch)


def split_reference(text: str) -> tuple[str, str]:
    """Return the repository, with http:// if it is written, and the tag or digest of a reference.

    A digest counts more than a tag beside it, as in Docker. Raise ToolError for an invalid one.
    """
    named, at, digest = text.partition("@")
    if at and not spec.is_digest(digest):
        raise ToolError(
            f"'{text}': after the @ must be 'sha256:' and 64 lower-case hexadecimal digits"
        )
    repository, colon, tag = named.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = named, "latest"
    return repository, digest or parse_tag(tag)


def _of_layout(
    name: str,
    kind: str,
    layout: Layout,
    *,
    need: Callable[[Descriptor], None] | None,
    fetch: Callable[[Iterable[Layer]], None],
) -> Subject:
    def with_blobs(read: Callable[[], T]) -> T:
        """Read documents, and get each that turns out to be missing."""
        while True:
            try:
                return read()
            except MissingBlobError as error:
                if need is None:
                    raise
                need(error.descriptor)

    def reader(descriptor: Descriptor) -> Callable[[], Image]:
        return lambda: with_blobs(
            lambda: read_image(layout, descriptor, layers_needed=need is None)
        )

    root = layout.root
    if root.media_type not in spec.INDEX_TYPES:
        entry = Entry("", root.digest, reader(root))
        return Subject(name, kind, root.digest, (entry,), fetch=fetch)
    found = with_blobs(lambda: list(offers(layout, root)))
    entries = tuple(
        Entry(normalize(platform), descriptor.digest, reader(descriptor))
        for platform, descriptor in found
        if not platform.startswith(_UNKNOWN)
    )
    index = with_blobs(lambda: read_document(layout, root))
    return Subject(name, kind, root.digest, entries, index, fetch)
