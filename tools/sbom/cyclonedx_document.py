"""Components of an image → a CycloneDX 1.6 document (JSON).

https://cyclonedx.org/docs/1.6/json/. The serial number is made of the content, so that the same
components give the same document, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tools.sbom.component import Component
from tools.sbom.subject import TOOL, Subject, content_uuid, encode

_ROOT = "image"
_SIMPLE = re.compile(r"[A-Za-z0-9.+-]+")


def document(subject: Subject, components: Sequence[Component]) -> bytes:
    """Return the document of `subject`, as JSON."""
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "tools": {"components": [{"type": "application", "name": TOOL}]},
            "component": {
                "type": "container",
                "bom-ref": _ROOT,
                "name": subject.name,
                "version": subject.digest,
                "purl": subject.purl,
                "hashes": [_hash(subject.digest.removeprefix("sha256:"))],
            },
        },
        "components": [_distribution(subject), *map(_component, components)],
        "dependencies": _dependencies(components),
    }
    content["serialNumber"] = f"urn:uuid:{content_uuid(content)}"
    return encode(content)


def _distribution(subject: Subject) -> dict[str, Any]:
    """Return the distribution, which scanners need to match its packages' vulnerabilities."""
    name, _, version = subject.distro.partition("-")
    return {"type": "operating-system", "bom-ref": "os", "name": name, "version": version}


def _component(component: Component) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "library", "bom-ref": component.ref, "name": component.name}
    known = {"version": component.version, "purl": component.purl, "cpe": component.cpe}
    found |= {member: value for member, value in known.items() if value}
    if component.sha256:
        found["hashes"] = [_hash(component.sha256)]
    licenses = _licenses(component)
    if licenses:
        found["licenses"] = licenses
    if component.maintainer:
        found["supplier"] = {"name": component.maintainer}
    if component.homepage:
        found["externalReferences"] = [{"type": "website", "url": component.homepage}]
    if component.source:
        found["properties"] = [{"name": "pinned_image:source", "value": component.source}]
    if component.files:
        found["evidence"] = {"occurrences": [{"location": file} for file in component.files]}
    return found


def _licenses(component: Component) -> list[dict[str, Any]]:
    if component.license is None:
        return [{"license": {"name": name}} for name in component.license_names]
    if _SIMPLE.fullmatch(component.license):
        return [{"license": {"id": component.license}}]
    return [{"expression": component.license}]


def _dependencies(components: Sequence[Component]) -> list[dict[str, Any]]:
    inside: dict[str, list[str]] = {_ROOT: ["os"]}
    for component in components:
        inside.setdefault(component.parent or _ROOT, []).append(component.ref)
    return [{"ref": ref, "dependsOn": sorted(refs)} for ref, refs in sorted(inside.items())]


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}
