"""An image and its components → an SPDX 2.3 document (JSON).

https://spdx.github.io/spdx-spec/v2.3/. The namespace is made of the content, so that the same
components give the same document, byte for byte, and others another namespace.
"""

from __future__ import annotations

import re
from typing import Any

from tools.sbom.component import Component, Party
from tools.sbom.subject import TOOL, Subject, content_uuid, encode

UNKNOWN = "NOASSERTION"
CONCLUDED = "Concluded from what the package declares; no other analysis was made."


def document(subject: Subject) -> bytes:
    """Return the document of `subject`, as JSON."""
    texts = {text for each in subject.components for text in each.license_texts}
    creators = [f"Organization: {_party(subject.creator)}"] if subject.creator else []
    content: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "creationInfo": {"created": subject.created, "creators": [*creators, f"Tool: {TOOL}"]},
        "packages": [_package(each) for each in (subject.root, *subject.parts)],
        "relationships": _relationships(subject),
        "hasExtractedLicensingInfos": [
            {"licenseId": name, "extractedText": text} for name, text in sorted(texts)
        ],
    }
    uuid = content_uuid(content)
    content["documentNamespace"] = f"https://spdx.org/spdxdocs/{subject.name}-{uuid}"
    return encode(content)


def _package(component: Component) -> dict[str, Any]:
    licence = component.license or UNKNOWN
    package: dict[str, Any] = {
        "SPDXID": identifier(component.ref),
        "name": component.name,
        "versionInfo": component.version or UNKNOWN,
        "primaryPackagePurpose": "CONTAINER" if component.container else "LIBRARY",
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": licence,
        "licenseDeclared": licence,
        "copyrightText": component.copyright or UNKNOWN,
    }
    if component.sha256:
        package["checksums"] = [
            {"algorithm": "SHA256", "checksumValue": component.sha256},
            {"algorithm": "SHA512", "checksumValue": component.sha512},
        ]
    if component.file:
        package["packageFileName"] = component.file
    if component.homepage:
        package["homepage"] = component.homepage
    if component.supplier:
        package["supplier"] = f"Organization: {_party(component.supplier)}"
    if component.notes:
        package["comment"] = " ".join(component.notes)
    comments = [CONCLUDED] if component.license else []
    if component.license_names:
        comments.append(f"The package states: {'; '.join(component.license_names)}")
    if comments:
        package["licenseComments"] = " ".join(comments)
    about = []
    if component.source:
        about.append(f"built from the source package {component.source}")
    if component.files:
        about.append(f"found in {', '.join(component.files)}")
    if about:
        package["sourceInfo"] = "; ".join(about)
    references = [
        _reference("PACKAGE-MANAGER", "purl", component.purl),
        _reference("SECURITY", "cpe23Type", component.cpe),
    ]
    if any(references):
        package["externalRefs"] = [each for each in references if each]
    return package


def _relationships(subject: Subject) -> list[dict[str, str]]:
    found = [("SPDXRef-DOCUMENT", "DESCRIBES", subject.root.ref)]
    for ref, children in subject.children().items():
        found += [(ref, "CONTAINS", child) for child in children]
    for each in subject.components:
        found += [(each.ref, "DEPENDS_ON", ref) for ref in needed(each, subject)]
    return [
        {
            "spdxElementId": identifier(one),
            "relationshipType": kind,
            "relatedSpdxElement": identifier(other),
        }
        for one, kind, other in found
    ]


def needed(component: Component, subject: Subject) -> list[str]:
    """Return what a component depends on, by ref: what it needs, and what it brings along.

    An image only contains its packages: that they are there is no need of its own.
    """
    inside = [] if component.container else subject.children()[component.ref]
    return sorted({*component.depends, *inside})


def _party(party: Party) -> str:
    """Return a party as SPDX writes it: "Name (address)"."""
    return f"{party.name} ({party.address})" if party.email else party.name


def identifier(ref: str) -> str:
    """Return an SPDX identifier: letters, digits, '.' and '-'; '+' is spelled out (g, g++)."""
    if ref.startswith("SPDXRef-"):
        return ref
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", ref.replace("+", "plus"))


def _reference(category: str, kind: str, locator: str | None) -> dict[str, str] | None:
    if not locator:
        return None
    return {
        "referenceCategory": category,
        "referenceType": kind,
        "referenceLocator": locator,
    }
