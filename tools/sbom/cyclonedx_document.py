"""An image and its components → a CycloneDX 1.6 document (JSON).

https://cyclonedx.org/docs/1.6/json/. The serial number is made of the content, so that the same
components give the same document, byte for byte.
"""

from __future__ import annotations

import re
from typing import Any

from tools.sbom.component import Component, Party
from tools.sbom.subject import TOOL, Subject, content_uuid, encode

_SIMPLE = re.compile(r"(?!LicenseRef-)[A-Za-z0-9.+-]+")


def document(subject: Subject) -> bytes:
    """Return the document of `subject`, as JSON."""
    told: set[str] = set()
    metadata: dict[str, Any] = {
        "timestamp": subject.created,
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [{"type": "application", "name": TOOL}]},
        "component": _component(subject.root, told),
    }
    if subject.creator:
        metadata["manufacturer"] = _party(subject.creator)
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": [_distribution(subject), *(_component(each, told) for each in subject.parts)],
        "dependencies": _dependencies(subject),
        # The application's own files are no components.
        "compositions": [
            {
                "aggregate": "incomplete_third_party_only",
                "assemblies": [each.ref for each in subject.components if each.container],
            }
        ],
    }
    content["serialNumber"] = f"urn:uuid:{content_uuid(content)}"
    return encode(content)


def _distribution(subject: Subject) -> dict[str, Any]:
    """Return the distribution, which scanners need to match its packages' vulnerabilities."""
    name, _, version = subject.distro.partition("-")
    return {"type": "operating-system", "bom-ref": "os", "name": name, "version": version}


def _component(component: Component, told: set[str]) -> dict[str, Any]:
    """Return a component; the texts of licences that have been `told` are left out."""
    kind = "container" if component.container else "library"
    found: dict[str, Any] = {"type": kind, "bom-ref": component.ref, "name": component.name}
    known = {
        "version": component.version,
        "purl": component.purl,
        "cpe": component.cpe,
        "copyright": component.copyright,
    }
    found |= {member: value for member, value in known.items() if value}
    if component.sha256:
        found["hashes"] = [
            {"alg": "SHA-256", "content": component.sha256},
            {"alg": "SHA-512", "content": component.sha512},
        ]
    if component.license:
        found["licenses"] = [_licence(component.license, component, told)]
    if component.supplier:
        found["supplier"] = _party(component.supplier)
    if component.homepage:
        found["externalReferences"] = [{"type": "website", "url": component.homepage}]
    properties = [
        ("file", component.file),
        ("source", component.source),
        ("license", "; ".join(component.license_names)),
        ("note", " ".join(component.notes)),
    ]
    if any(value for _, value in properties):
        found["properties"] = [
            {"name": f"pinned_image:{name}", "value": value} for name, value in properties if value
        ]
    if component.files:
        found["evidence"] = {"occurrences": [{"location": file} for file in component.files]}
    return found


def _licence(expression: str, component: Component, told: set[str]) -> dict[str, Any]:
    """Return a licence: by identifier, by its text, or as an expression of several."""
    if _SIMPLE.fullmatch(expression):
        return {"license": {"id": expression}}
    texts = dict(component.license_texts)
    if expression in texts:
        named: dict[str, Any] = {"name": expression}
        if expression not in told:
            named["text"] = {"contentType": "text/plain", "content": texts[expression]}
        told.add(expression)
        return {"license": named}
    return {"expression": expression}


def _party(party: Party) -> dict[str, Any]:
    found: dict[str, Any] = {"name": party.name}
    if party.email:
        found["contact"] = [{"email": party.email}]
    elif party.address:
        found["url"] = [party.address]
    return found


def _dependencies(subject: Subject) -> list[dict[str, Any]]:
    needed: dict[str, set[str]] = {"os": set()}
    for ref, children in subject.children().items():
        needed[ref] = set(children)
    needed[subject.root.ref].add("os")
    for each in subject.components:
        needed[each.ref] |= set(each.depends)
    return [{"ref": ref, "dependsOn": sorted(refs)} for ref, refs in sorted(needed.items())]
