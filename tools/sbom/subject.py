"""What an SBOM is about: an image, or an index of several, with all that is in it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packageurl import PackageURL

from tools.cli import ToolError
from tools.image.layout import Image, Layout, open_layout, read_blob, read_children, read_image
from tools.image.spec import INDEX_TYPES, Descriptor, encode_json
from tools.linux.architectures import ARCHITECTURES
from tools.sbom import dependencies, licenses
from tools.sbom.component import Component, Party, digests, unique
from tools.wheels.target import Target

TOOL = "pinned_image-sbom"
_AGGREGATE = (
    "An image is an aggregate of separate works: each component listed here has a licence of its "
    "own, and none of them extends to the others."
)
_NOTICES = "An aggregate of separate works: the notices are those of the components listed here."


@dataclass(frozen=True)
class Subject:
    """An image or an index: the component `root`, and all components, itself among them.

    `created` is the time of the locks, in RFC 3339, UTC.
    """

    root: Component
    components: tuple[Component, ...]
    name: str
    created: str
    distro: str
    creator: Party | None

    @property
    def parts(self) -> tuple[Component, ...]:
        """Everything but the root."""
        return tuple(each for each in self.components if each.ref != self.root.ref)

    def children(self) -> Mapping[str, list[str]]:
        """Return which components are in which, by ref."""
        found: dict[str, list[str]] = {each.ref: [] for each in self.components}
        for each in self.parts:
            found[each.parent or self.root.ref].append(each.ref)
        return found


@dataclass(frozen=True)
class Naming:
    """What the caller says of an image: its name, distribution, supplier and the locks' time."""

    name: str
    distro: str
    supplier: str | None
    mtime: int


def read_subject(
    layout: Path, naming: Naming, components: Mapping[str, Sequence[Component]]
) -> Subject:
    """Return the subject of a layout: one image, or an index with the images in it.

    `components` are those of each architecture. Raise ToolError.
    """
    opened = open_layout(layout)
    if opened.root.media_type not in INDEX_TYPES:
        image = read_image(opened, opened.root)
        root = _image(opened, opened.root, image, naming, ref="image")
        found = [root, *_parts(image, components, layout)]
        name = f"{naming.name}-{image.config.get('architecture')}"
    else:
        root = _container(opened, opened.root, naming, ref="index", qualifiers={})
        found = [root]
        for child in read_children(opened, opened.root):
            image = read_image(opened, child)
            arch = image.config.get("architecture")
            own = _image(opened, child, image, naming, ref=f"image-{arch}")
            found.append(own)
            for each in _parts(image, components, layout):
                found.append(_below(each, own.ref, prefix=f"{arch}-"))
        name = naming.name
    created = datetime.fromtimestamp(naming.mtime, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Subject(
        root=root,
        components=tuple(unique(found)),
        name=name,
        created=created,
        distro=naming.distro,
        creator=root.supplier,
    )


def _parts(
    image: Image, components: Mapping[str, Sequence[Component]], layout: Path
) -> Iterator[Component]:
    """Yield the components of one image, with their dependencies on each other."""
    arch = str(image.config.get("architecture"))
    if arch not in components:
        known = ", ".join(sorted(components)) or "none"
        raise ToolError(
            f"{layout}: is or has an image for {arch!r}, and there are components for {known}; "
            f"pass --components {arch}=FILE"
        )
    # What is inside another says itself what it needs.
    packages = [each for each in components[arch] if each.parent is None]
    yield from (each for each in components[arch] if each.parent is not None)
    yield from dependencies.of_debs([each for each in packages if each.ref.startswith("deb-")])
    python = [each for each in packages if each.ref.startswith("pypi-")]
    yield from dependencies.of_wheels(python, environment=_markers(packages, arch))


def _markers(packages: Sequence[Component], arch: str) -> Mapping[str, str]:
    """Return what environment markers mean in an image that has these packages."""
    found = [each.version for each in packages if re.fullmatch(r"python3\.\d+", each.name)]
    version = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", str(found[0])) if found else None
    return Target(
        arch=arch if arch in ARCHITECTURES else "amd64",
        python=version[1] if version else "3.11.0",
        glibc_minor=0,
    ).marker_environment


def _below(component: Component, parent: str, *, prefix: str) -> Component:
    """Return a component of one of several images, whose refs must not meet the others'."""
    return replace(
        component,
        ref=prefix + component.ref,
        parent=prefix + component.parent if component.parent else parent,
        depends=tuple(prefix + ref for ref in component.depends),
    )


def _image(
    layout: Layout, descriptor: Descriptor, image: Image, naming: Naming, *, ref: str
) -> Component:
    arch = str(image.config.get("architecture"))
    return _container(layout, descriptor, naming, ref=ref, qualifiers={"arch": arch})


def _container(
    layout: Layout, descriptor: Descriptor, naming: Naming, *, ref: str, qualifiers: dict[str, str]
) -> Component:
    name = naming.name.rpartition("/")[2].lower()
    purl = PackageURL("oci", None, name, descriptor.digest, qualifiers=qualifiers)
    licence = licenses.reference("image", _AGGREGATE)
    found = digests(read_blob(layout, descriptor))
    return Component(
        ref=ref,
        name=naming.name,
        version=descriptor.digest,
        purl=purl.to_string(),
        # The manifest: its digest is the image's.
        file=descriptor.digest.partition(":")[2],
        sha256=found.sha256,
        sha512=found.sha512,
        license=licence.expression,
        license_texts=licence.texts,
        copyright=_NOTICES,
        maintainer=naming.supplier,
        container=True,
    )


def content_uuid(content: Any) -> uuid.UUID:
    """Return a UUID (RFC 9562, version 5) that depends on the content alone."""
    return uuid.uuid5(uuid.NAMESPACE_OID, encode_json(content).decode())


def encode(content: Any) -> bytes:
    """Return the bytes of a document: sorted, and indented so that differences are readable."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
