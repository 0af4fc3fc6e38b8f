"""Artifacts that refer to an image in a registry, such as its SBOM (OCI 1.1, `subject`).

The manifest follows image-spec manifest.md, "Guidelines for Artifact Usage"; how it is found,
distribution-spec 1.1, "Pushing Manifests with Subject" and "Listing Referrers". A registry with the
referrers API lists them itself; for any other the client keeps an index under the tag
`sha256-<hex>` of the image's digest. The image, its digest and its tags never change.

Same artifact, same image: the same manifest, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, parse_json
from tools.image import spec
from tools.image.spec import Descriptor
from tools.registry.errors import RegistryError
from tools.registry.push_plan import Blob, Manifest, Plan
from tools.registry.registry import Registry

# The config of artifacts (image-spec manifest.md, "Guidance for an Empty Descriptor").
EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
# Others may change the index of a fallback tag at the same time.
_ATTEMPTS = 5
_PRECONDITION_FAILED = 412


class ReferrersError(ToolError):
    """The list of an image's referrers cannot be read or changed."""


@dataclass(frozen=True)
class Artifact:
    """A file to attach. `kind` is its artifactType, `annotations` are those of the manifest."""

    path: Path
    kind: str
    media_type: str
    annotations: tuple[tuple[str, str], ...] = ()


def artifact_plan(artifact: Artifact, subject: Descriptor, scratch: Path) -> Plan:
    """Return the blobs and the manifest by which `artifact` refers to `subject`.

    `scratch` is a directory for the file of the empty config. Raise OSError.
    """
    empty = scratch / "empty.json"
    empty.write_bytes(EMPTY)
    data = artifact.path.read_bytes()
    config = Descriptor(EMPTY_TYPE, spec.sha256_digest(EMPTY), len(EMPTY))
    content = Descriptor(
        artifact.media_type,
        spec.sha256_digest(data),
        len(data),
        extra=(("annotations", {_TITLE: artifact.path.name}),),
    )
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": spec.OCI_MANIFEST,
        "artifactType": artifact.kind,
        "config": config.to_json(),
        "layers": [content.to_json()],
        # These three only: a platform or annotation here would not describe the image.
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
    }
    if artifact.annotations:
        manifest["annotations"] = dict(artifact.annotations)
    encoded = spec.encode_json(manifest)
    root = Descriptor(spec.OCI_MANIFEST, spec.sha256_digest(encoded), len(encoded))
    blobs = [Blob(content, artifact.path, artifact.path.name)]
    if config.digest != content.digest:
        blobs.append(Blob(config, empty, "empty config"))
    return Plan(blobs=tuple(blobs), manifests=(Manifest(root, encoded),))


def fallback_tag(digest: str) -> str:
    """Return the tag whose index lists the referrers of `digest` ("Referrers Tag Schema")."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def list_entry(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest's descriptor for a list of referrers."""
    document = json.loads(manifest.data)
    entry = {**manifest.descriptor.to_json(), "artifactType": document["artifactType"]}
    if "annotations" in document:
        entry["annotations"] = document["annotations"]
    return entry


def with_entry(index: bytes | None, entry: Mapping[str, Any]) -> bytes | None:
    """Return an index with `entry` appended, None when it has the entry already.

    The rest of the index is kept. Raise ReferrersError when it is not an image index.
    """
    document: Any = {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": []}
    if index is not None:
        document = _parse_index(index)
    if any(each["digest"] == entry["digest"] for each in document["manifests"]):
        return None
    document["manifests"].append(dict(entry))
    return spec.encode_json(document)


def record(registry: Registry, subject: str, entry: Mapping[str, Any]) -> None:
    """Add `entry` to the list under the fallback tag of the digest `subject`.

    The index is read, extended, written, and read again: a concurrent change is refused by
    registries that honour If-Match, and elsewhere detected because our entry is missing. (Without
    If-Match, two clients that write at the same instant may both see their own entry and one lose
    it right after; the specification has no remedy.) Raise ReferrersError, RegistryError or
    TransportError.
    """
    tag = fallback_tag(subject)
    for _ in range(_ATTEMPTS):
        current = registry.get_manifest(tag)
        try:
            updated = with_entry(current.body if current else None, entry)
        except ReferrersError as error:
            raise ReferrersError(f"{registry.repository}:{tag}: {error}") from error
        if updated is None:
            return
        try:
            registry.put_manifest(
                updated,
                media_type=spec.OCI_INDEX,
                reference=tag,
                digest=spec.sha256_digest(updated),
                replacing=current.headers.get("ETag") if current else None,
            )
        except RegistryError as error:
            if error.status != _PRECONDITION_FAILED:
                raise
    if with_entry(_body(registry, tag), entry) is not None:
        raise ReferrersError(
            f"{registry.repository}:{tag}: other clients keep changing it; try again"
        )


def list_referrers(registry: Registry, digest: str) -> list[dict[str, Any]]:
    """Return the descriptors of the referrers of `digest`, from the API or the fallback tag.

    Raise ReferrersError, RegistryError or TransportError.
    """
    pages = registry.get_referrers(digest)
    if pages is None:
        body = _body(registry, fallback_tag(digest))
        return [] if body is None else list(_parse_index(body)["manifests"])
    return list(_entries(page.body for page in pages))


def _entries(pages: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    for page in pages:
        yield from _parse_index(page)["manifests"]


def _body(registry: Registry, reference: str) -> bytes | None:
    found = registry.get_manifest(reference)
    return found.body if found else None


def _parse_index(data: bytes) -> dict[str, Any]:
    try:
        document = parse_json(data)
    except ValueError as error:
        raise ReferrersError(f"is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("mediaType") != spec.OCI_INDEX:
        kind = document.get("mediaType") if isinstance(document, dict) else None
        raise ReferrersError(
            f"must be an image index ({spec.OCI_INDEX}) of referrers, found {kind!r}"
        )
    manifests = document.get("manifests")
    if not isinstance(manifests, list) or not all(
        isinstance(each, dict) and isinstance(each.get("digest"), str) for each in manifests
    ):
        raise ReferrersError("member 'manifests' must be a list of descriptors")
    return document
