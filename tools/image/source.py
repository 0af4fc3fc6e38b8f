"""A layout directory or an archive → the image in it, its layers as files.

    with open_source(path, platform="", scratch=directory) as source:
        source.image.layers

A path is an OCI layout directory, or an archive (plain or gzip): a docker-archive, as `docker
save` and `oci_load` write it, or an OCI layout in a tar. An archive is read once, front to back;
of its members only the content is kept, in files whose names this module chooses.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.archive.decompress import CHUNK, DecompressionError, Decompressor, sniff
from tools.archive.links import LoopError, follow
from tools.archive.tar_stream import LayerError, TarStream
from tools.cli import parse_json
from tools.image import spec
from tools.image.archive import DOCKER_MANIFEST, read_docker_manifest
from tools.image.layout import (
    Image,
    Layer,
    LayoutError,
    blob_path,
    open_layout,
    read_image,
)
from tools.image.platform import listing, platform_text, suits
from tools.image.references import choose_image, offers

MARKER = "oci-layout"
MAX_BYTES = 16 << 30  # Of one archive; more is refused as a bomb.
_LAYOUT_MEMBER = re.compile("oci-layout|index[.]json|blobs/sha256/[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """An image and what it was read from: `path` is a layout directory or an archive."""

    image: Image
    path: Path
    kind: str  # "layout", "docker-archive" or "oci-archive"
    config: Path  # The file of the image's configuration.


@dataclass(frozen=True)
class _Stored:
    """A member's content: its file, SHA-256 and size in bytes."""

    path: Path
    digest: str
    size: int


@contextlib.contextmanager
def open_source(path: Path, *, platform: str, scratch: Path) -> Iterator[Source]:
    """Open an image. `platform` (os/architecture[/variant]) chooses from an image index and is
    compared with a single image; "" accepts the only image, whatever its platform.

    `scratch` is an empty directory for an archive's members. Raise LayoutError or LayerError.
    """
    opened = open_path(path, scratch=scratch)
    if isinstance(opened, Source):
        source = opened
    else:
        image = _from_layout(opened, platform)
        kind = "layout" if opened == path else "oci-archive"
        config = blob_path(opened, image.manifest["config"]["digest"])
        source = Source(image, path, kind, config)
    found = platform_text(source.image.config)
    if platform and not suits(found, platform):
        raise LayoutError(f"{path}: is an image for {found}, and platform {platform} is wanted")
    yield source


def open_path(path: Path, *, scratch: Path) -> Source | Path:
    """Return the image of a docker-archive, or the layout directory at `path` or in its archive.

    Raise LayoutError or LayerError.
    """
    if path.is_dir() or not path.exists():
        return path
    members = _unpack(path, scratch)
    if DOCKER_MANIFEST in members:
        return _from_docker(path, members)
    if MARKER in members:
        return scratch
    raise LayoutError(
        f"{path}: is neither a docker-archive (no {DOCKER_MANIFEST}) nor an OCI layout (no "
        f"{MARKER}) in a tar"
    )


def _from_layout(path: Path, platform: str) -> Image:
    layout = open_layout(path)
    if layout.root.media_type not in spec.INDEX_TYPES:
        return read_image(layout, layout.root)
    child = choose_image(layout, layout.root, platform) if platform else None
    if child is not None:
        return read_image(layout, child)
    wanted = f"none of them is for {platform}" if platform else "say which with platform"
    names = listing([name for name, _ in offers(layout, layout.root)])
    raise LayoutError(f"{path}: is an image index for {names}; {wanted}")


def _from_docker(path: Path, members: Mapping[str, _Stored]) -> Source:
    """Read the one image of a docker-archive (the format of `docker save`)."""

    def member(name: object) -> _Stored:
        stored = members.get(posixpath.normpath(name)) if isinstance(name, str) else None
        if stored is None:
            raise LayoutError(
                f"{path}: {DOCKER_MANIFEST} names {name!r}, which is not in the archive"
            )
        return stored

    document = _json(path, DOCKER_MANIFEST, members[DOCKER_MANIFEST])
    entry = read_docker_manifest(document, source=path)
    stored_config = member(entry.config)
    config = _json(path, "the configuration", stored_config)
    layers = [member(name) for name in entry.layers]
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
        raise LayoutError(f"{path}: the configuration must have one diff_id for each layer")
    image = Image(
        digest=stored_config.digest,
        media_type=spec.DOCKER_MANIFEST,
        manifest={"config": {"digest": stored_config.digest, "size": stored_config.size}},
        config=config,
        layers=tuple(
            # The reader looks at the bytes to see how they are compressed.
            Layer(stored.digest, stored.size, spec.DOCKER_LAYER, str(diff_id), stored.path)
            for stored, diff_id in zip(layers, diff_ids, strict=True)
        ),
    )
    return Source(image, path, "docker-archive", stored_config.path)


def _json(path: Path, what: str, stored: _Stored) -> Any:
    try:
        return parse_json(stored.path.read_bytes())
    except ValueError as error:
        raise LayoutError(f"{path}: {what} is not JSON: {error}") from error


def _unpack(archive: Path, scratch: Path) -> dict[str, _Stored]:
    """Store the content of every member below `scratch`; names of no meaning are numbered."""
    members: dict[str, _Stored] = {}
    links: dict[str, str] = {}
    left = MAX_BYTES
    (scratch / "blobs" / "sha256").mkdir(parents=True)
    (scratch / "members").mkdir()
    with archive.open("rb") as stream:
        tar = TarStream(_content(stream, archive), source=str(archive))
        for number, header in enumerate(tar):
            name = posixpath.normpath(header.name)
            if header.kind == "symlink":
                links[name] = header.linkname
            elif header.kind == "hardlink":
                links[name] = f"/{header.linkname}"
            if header.kind != "file":
                continue
            left -= header.size
            if left < 0:
                raise LayerError(f"{archive}: holds more than {MAX_BYTES} bytes")
            plain = _LAYOUT_MEMBER.fullmatch(name)
            target = scratch / name if plain else scratch / "members" / str(number)
            digest = hashlib.sha256()
            with target.open("wb") as out:
                for piece in tar.body():
                    digest.update(piece)
                    out.write(piece)
            members[name] = _Stored(target, f"sha256:{digest.hexdigest()}", header.size)
    # Older engines store equal layers once and link the others to it.
    for name in links:
        with contextlib.suppress(LoopError):
            leads_to = "/".join(follow(name, lambda parts: links.get("/".join(parts))))
            if leads_to in members:
                members[name] = members[leads_to]
    return members


def _content(stream: IO[bytes], archive: Path) -> Iterator[bytes]:
    try:
        first = stream.read(CHUNK)
        chunks = itertools.chain([first], iter(lambda: stream.read(CHUNK), b""))
        yield from Decompressor(chunks, sniff(first))
    except (OSError, DecompressionError) as error:
        raise LayerError(f"{archive}: cannot be read: {error}") from error
