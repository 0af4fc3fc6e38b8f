"""Components of an image → an SPDX 2.3 document (JSON).

https://spdx.github.io/spdx-spec/v2.3/. The namespace is made of the content, so that the same
components give the same document, byte for byte, and others another namespace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tools.sbom.component import Component
from tools.sbom.subject import TOOL, Subject, content_uuid, encode

_UNKNOWN = "NOASSERTION"
_ROOT = "SPDXRef-image"


def document(subject: Subject, components: Sequence[Component]) -> bytes:
    """Return the document of `subject`, as JSON."""
    name = f"{subject.name}-{subject.architecture}"
    content: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "creationInfo": {"created": subject.created, "creators": [f"Tool: {TOOL}"]},
        "packages": [_image(subject), *map(_package, components)],
        "relationships": _relationships(components),
    }
    content["documentNamespace"] = f"https://spdx.org/spdxdocs/{name}-{content_uuid(content)}"
    return encode(content)


def _image(subject: Subject) -> dict[str, Any]:
    return {
        "SPDXID": _ROOT,
        "name": subject.name,
        "versionInfo": subject.digest,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [_checksum(subject.digest.removeprefix("sha256:"))],
        "externalRefs": [_purl(subject.purl)],
        **_unsaid(),
    }


def _package(component: Component) -> dict[str, Any]:
    package: dict[str, Any] = {
        "SPDXID": _id(component.ref),
        "name": component.name,
        "primaryPackagePurpose": "LIBRARY",
        **_unsaid(),
    }
    if component.version:
        package["versionInfo"] = component.version
    if component.sha256:
        package["checksums"] = [_checksum(component.sha256)]
    if component.homepage:
        package["homepage"] = component.homepage
    if component.maintainer:
        # "Name <address>" is written "Name (address)" here.
        supplier = re.sub(r"\s*<([^<>]*)>", r" (\1)", component.maintainer)
        package["supplier"] = f"Organization: {supplier}"
    if component.license:
        package["licenseDeclared"] = component.license
    elif component.license_names:
        stated = "; ".join(component.license_names)
        package["licenseComments"] = f"The package states: {stated}"
    about = []
    if component.source:
        about.append(f"built from the source package {component.source}")
    if component.files:
        about.append(f"found in {', '.join(component.files)}")
    if about:
        package["sourceInfo"] = "; ".join(about)
    references = [_purl(component.purl)] if component.purl else []
    if component.cpe:
        references.append(
            {
                "referenceCategory": "SECURITY",
                "referenceType": "cpe23Type",
                "referenceLocator": component.cpe,
            }
        )
    if references:
        package["externalRefs"] = references
    return package


def _relationships(components: Sequence[Component]) -> list[dict[str, str]]:
    found = [("SPDXRef-DOCUMENT", "DESCRIBES", _ROOT)]
    for component in components:
        parent = _id(component.parent) if component.parent else _ROOT
        found.append((parent, "CONTAINS", _id(component.ref)))
    return [
        {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
        for one, kind, other in found
    ]


def _unsaid() -> dict[str, Any]:
    """Return the mandatory fields whose values are unknown here."""
    return {
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": _UNKNOWN,
        "copyrightText": _UNKNOWN,
    }


def _id(ref: str) -> str:
    """Return an SPDX identifier: letters, digits, '.' and '-'; '+' is spelled out (g, g++)."""
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", ref.replace("+", "plus"))


def _checksum(sha256: str) -> dict[str, str]:
    return {"algorithm": "SHA256", "checksumValue": sha256}


def _purl(purl: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }
