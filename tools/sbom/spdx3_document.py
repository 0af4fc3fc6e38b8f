"""An image and its components → an SPDX 3.0.1 document (JSON-LD).

https://spdx.github.io/spdx-spec/v3.0.1/. FSCT's "SBOM type" and most of what BSI TR-03183-2 asks
for (digests of the file that is delivered, what kind of file it is, whether a list is complete)
have a place in SPDX 3 alone. Names are made of the content: same components, same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tools.sbom.component import Component, Party
from tools.sbom.spdx_document import CONCLUDED, UNKNOWN, needed
from tools.sbom.subject import TOOL, Subject, content_uuid, encode

_CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_CREATION = "_:creation"
_NOBODY = Party("Nobody has said who makes this image")


def document(subject: Subject) -> bytes:
    """Return the document of `subject`, as JSON."""
    content = _Graph(subject, "urn:uuid:0").elements()
    base = f"https://spdx.org/spdxdocs/{subject.name}-{content_uuid(content)}"
    graph = _Graph(subject, base).elements()
    return encode({"@context": _CONTEXT, "@graph": graph})


class _Graph:
    """The elements of a document, whose identifiers begin with `base`."""

    def __init__(self, subject: Subject, base: str) -> None:
        self._subject = subject
        self._base = base
        self._found: dict[str, dict[str, Any]] = {}

    def elements(self) -> list[dict[str, Any]]:
        """Return all elements, those that frame the document first."""
        subject = self._subject
        creator = self._party(subject.creator or _NOBODY)
        tool = self._add("Tool", "tool", name=TOOL)
        for each in subject.components:
            self._package(each)
        for ref, children in subject.children().items():
            # The application's own files are no components.
            own = ref == subject.root.ref or ref.startswith("image-")
            known = "incomplete" if own else "complete"
            self._relate(ref, "contains", children, completeness=known)
        for each in subject.components:
            self._relate(each.ref, "dependsOn", needed(each, subject), completeness="complete")
        inside = sorted(self._found)
        collection = {
            "element": inside,
            "profileConformance": ["core", "software", "simpleLicensing"],
        }
        bill = self._add(
            "software_Sbom",
            "sbom",
            rootElement=[self._id(subject.root.ref)],
            software_sbomType=["build"],
            **collection,
        )
        self._add(
            "SpdxDocument",
            "document",
            name=subject.name,
            rootElement=[bill],
            **{**collection, "element": sorted([*inside, bill])},
        )
        creation = {
            "type": "CreationInfo",
            "@id": _CREATION,
            "specVersion": "3.0.1",
            "created": subject.created,
            "createdBy": [creator],
            "createdUsing": [tool],
        }
        return [creation, *(self._found[each] for each in sorted(self._found))]

    def _id(self, name: str) -> str:
        return f"{self._base}#{name.replace('+', '%2B')}"

    def _add(self, kind: str, name: str, /, **members: Any) -> str:
        identifier = self._id(name)
        known = {member: value for member, value in members.items() if value}
        self._found[identifier] = {
            "type": kind,
            "spdxId": identifier,
            "creationInfo": _CREATION,
            **known,
        }
        return identifier

    def _relate(self, ref: str, kind: str, to: list[str], *, completeness: str = "") -> None:
        if to:
            self._add(
                "Relationship",
                f"{ref}-{kind}",
                **{"from": self._id(ref)},
                relationshipType=kind,
                to=[self._id(each) for each in to],
                completeness=completeness,
            )

    def _party(self, party: Party) -> str:
        digest = hashlib.sha256(f"{party.name}\n{party.address}".encode()).hexdigest()[:12]
        address = {
            "type": "ExternalIdentifier",
            "externalIdentifierType": "email" if party.email else "other",
            "identifier": party.address,
        }
        return self._add(
            "Organization",
            f"party-{digest}",
            name=party.name,
            externalIdentifier=[address] if party.address else [],
        )

    def _package(self, each: Component) -> None:
        party = self._party(each.supplier) if each.supplier else None
        identifiers = [("packageUrl", each.purl), ("cpe23", each.cpe)]
        self._add(
            "software_Package",
            each.ref,
            name=each.name,
            comment=" ".join(each.notes),
            software_packageVersion=each.version or UNKNOWN,
            software_packageUrl=each.purl,
            software_homePage=each.homepage,
            software_copyrightText=each.copyright,
            software_primaryPurpose="container" if each.container else "library",
            software_sourceInfo=each.source and f"built from the source package {each.source}",
            suppliedBy=party,
            originatedBy=[party] if party else [],
            externalIdentifier=[
                {"type": "ExternalIdentifier", "externalIdentifierType": kind, "identifier": value}
                for kind, value in identifiers
                if value
            ],
        )
        self._relate(each.ref, "hasDistributionArtifact", self._files(each))
        if each.license:
            licence = self._licence(each.license, each)
            self._relate(each.ref, "hasDeclaredLicense", [licence])
            self._relate(each.ref, "hasConcludedLicense", [licence])

    def _files(self, each: Component) -> list[str]:
        """Return the file that a component comes in."""
        if not each.file:
            return []
        ref = f"file-{each.sha256}"
        self._add(
            "software_File",
            ref,
            name=each.file,
            software_primaryPurpose="file",
            software_additionalPurpose=_kinds(each.file),
            verifiedUsing=[
                {"type": "Hash", "algorithm": algorithm, "hashValue": value}
                for algorithm, value in (("sha256", each.sha256), ("sha512", each.sha512))
            ],
        )
        return [ref]

    def _licence(self, expression: str, each: Component) -> str:
        ids = []
        for name, text in each.license_texts:
            identifier = self._add(
                "simplelicensing_SimpleLicensingText", name, simplelicensing_licenseText=text
            )
            ids.append({"type": "DictionaryEntry", "key": name, "value": identifier})
        ref = "licence-" + hashlib.sha256(expression.encode()).hexdigest()[:12]
        self._add(
            "simplelicensing_LicenseExpression",
            ref,
            comment=CONCLUDED,
            simplelicensing_licenseExpression=expression,
            simplelicensing_customIdToUri=ids,
        )
        return ref


def _kinds(file: str) -> list[str]:
    """Return BSI's words for a delivered file.

    It is an archive or not, is made of parts that can be told apart ("container") or not
    ("firmware"), and can be executed or not.
    """
    if file.endswith((".deb", ".whl")):
        return ["archive", "container"]
    return ["executable", "firmware"] if ".so" in file else ["container"]
