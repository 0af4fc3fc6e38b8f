"""A wheel → its component, those its own SBOMs declare (PEP 770), and the libraries it bundles.

The version of a bundled library is read from the text that its makers put into it (what `strings`
shows), and is left out where there is none: a file's name tells an interface, not a version.
"""

from __future__ import annotations

import email.parser
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from tools.archive.zip_archive import DAMAGE, open_zip
from tools.cli import ToolError
from tools.sbom import licenses
from tools.sbom.component import Component

_SBOM = re.compile(r"[^/]+\.dist-info/sboms/[^/]+\.(cdx|cyclonedx)\.json")
_LIBRARY = re.compile(
    r"[^/]+\.libs/(?:.*/)?(lib[^/]+?)(?:-r\d+)?(?:-[0-9a-f]{8})*(?:\.\d+)*\.so(?:\.[^/]*)?"
)


@dataclass(frozen=True)
class _Product:
    """How a library says what it is: `pattern` has its version as first group."""

    name: str
    library: re.Pattern[str]
    pattern: re.Pattern[bytes]
    cpe: str | None = None


def _product(name: str, library: str, pattern: bytes, cpe: str | None = None) -> _Product:
    return _Product(name, re.compile(library), re.compile(pattern), cpe)


_VERSION = rb"(\d+(?:\.\d+)+)"
_PRODUCTS = (
    _product("ffmpeg", r"lib(av|sw)[a-z]+", rb"\0FFmpeg version n?" + _VERSION, "ffmpeg:ffmpeg"),
    _product(
        "openssl", r"lib(crypto|ssl)", rb"\0OpenSSL (\d+\.\d+\.\d+[a-z]*) ", "openssl:openssl"
    ),
    _product("openblas", r"lib(scipy_)?openblas\w*", rb"OpenBLAS (\d+\.\d+\.\d+)"),
    _product("libpng", r"libpng\d*", rb"libpng version " + _VERSION, "libpng:libpng"),
    _product("libvpx", r"libvpx", rb"VP9 Encoder v" + _VERSION, "webmproject:libvpx"),
)


def describe_wheel(path: Path) -> tuple[Component, ...]:
    """Return the components of a wheel, itself first. Raise ToolError naming the wheel."""
    try:
        with open_zip(path) as archive:
            wheel = _wheel(path, archive)
            return (wheel, *_declared(archive, wheel), *_bundled(archive, wheel))
    except (*DAMAGE, OSError, KeyError, ValueError) as error:
        raise ToolError(f"{path}: cannot be read as a wheel: {error}") from error


def _wheel(path: Path, archive: zipfile.ZipFile) -> Component:
    (metadata_file,) = (
        name
        for name in archive.namelist()
        if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
    )
    message = email.parser.BytesParser().parsebytes(archive.read(metadata_file), headersonly=True)
    metadata: dict[str, list[str]] = {}
    for field, value in message.items():
        metadata.setdefault(field.lower(), []).append(str(value))
    name = canonicalize_name(metadata["name"][0])  # as package URLs have it
    version = metadata["version"][0]
    expression, names = licenses.of_wheel(metadata)
    pages = [each.partition(",")[2].strip() for each in metadata.get("project-url", ())]
    return Component(
        ref=f"pypi-{name}",
        name=name,
        version=version,
        purl=PackageURL("pypi", None, name, version).to_string(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        license=expression,
        license_names=names,
        homepage=next(iter([*metadata.get("home-page", ()), *pages]), None),
    )


def _declared(archive: zipfile.ZipFile, wheel: Component) -> Iterator[Component]:
    """Yield what the SBOMs inside a wheel list, except for the wheel itself."""
    found: dict[str, Component] = {}
    for file in filter(_SBOM.fullmatch, sorted(archive.namelist())):
        for entry in json.loads(archive.read(file)).get("components", ()):
            component = _from_cyclonedx(entry, wheel, file)
            if component is not None:
                found.setdefault(component.ref, component)
    yield from found.values()


def _from_cyclonedx(entry: dict[str, Any], wheel: Component, file: str) -> Component | None:
    if not isinstance(entry.get("purl"), str):
        return None
    purl = PackageURL.from_string(entry["purl"])
    if purl.type == "pypi" and canonicalize_name(purl.name) == wheel.name:
        return None
    # Where it was built is of no use to others, and may be a path of the builder's machine.
    kept = {
        k: v for k, v in dict(purl.qualifiers or {}).items() if k in ("arch", "distro", "epoch")
    }
    clean = PackageURL(purl.type, purl.namespace, purl.name, purl.version, qualifiers=kept)
    return Component(
        ref=f"{wheel.ref}-{purl.type}-{purl.name}-{purl.version}",
        name=str(entry["name"]),
        version=str(entry["version"]) if entry.get("version") else None,
        purl=clean.to_string(),
        parent=wheel.ref,
        files=(file,),
    )


def _bundled(archive: zipfile.ZipFile, wheel: Component) -> Iterator[Component]:
    """Yield shared libraries beside the package, where auditwheel and similar tools put them."""
    found: dict[str, Component] = {}
    for file in sorted(archive.namelist()):
        match = _LIBRARY.fullmatch(file)
        if not match:
            continue
        content = archive.read(file)
        component = _library(match[1], content, wheel, file)
        known = found.get(component.ref)
        if known is not None:
            # Several libraries of one product: no one file's hash is the product's.
            component = replace(known, files=(*known.files, file), sha256=None)
        found[component.ref] = component
    yield from found.values()


def _library(stem: str, content: bytes, wheel: Component, file: str) -> Component:
    digest = hashlib.sha256(content).hexdigest()
    for product in _PRODUCTS:
        said = product.pattern.search(content) if product.library.fullmatch(stem) else None
        if said is None:
            continue
        version = said[1].decode("ascii")
        cpe = f"cpe:2.3:a:{product.cpe}:{version}:*:*:*:*:*:*:*" if product.cpe else None
        return Component(
            ref=f"{wheel.ref}-bundled-{product.name}-{version}",
            name=product.name,
            version=version,
            purl=PackageURL("generic", None, product.name, version).to_string(),
            cpe=cpe,
            sha256=digest,
            parent=wheel.ref,
            files=(file,),
        )
    return Component(
        ref=f"{wheel.ref}-bundled-{stem}",
        name=stem,
        sha256=digest,
        parent=wheel.ref,
        files=(file,),
    )
