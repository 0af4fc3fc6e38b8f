"""Where cosign keeps signatures: manifests that hang on an image's digest.

    sha256-<hex>.sig    each layer a payload (simple signing), its signature an annotation
    sha256-<hex>.att    each layer a DSSE envelope with an in-toto statement
    referrers           an artifact for each statement, a Sigstore bundle (cosign 3)

The manifests under the two tags grow: what others put there stays.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.attest import simple_signing
from tools.attest.statement import DocumentError, parse_object
from tools.image import spec
from tools.image.spec import Descriptor, SpecError

ENVELOPE = "application/vnd.dsse.envelope.v1+json"
SIGNATURE_KEY = "dev.cosignproject.cosign/signature"
_TYPE_KEY = "predicateType"
# Of the artifact that holds a bundle; cosign finds the statements of a type by the second.
BUNDLE_ANNOTATIONS = ("dev.sigstore.bundle.content", "dev.sigstore.bundle.predicateType")
# Bytes up to which a signed document is read.
LARGEST = 128 << 20


@dataclass(frozen=True)
class Layer:
    """A signed document in one of the manifests, and its annotations there."""

    media_type: str
    data: bytes
    annotations: tuple[tuple[str, str], ...]

    @property
    def descriptor(self) -> Descriptor:
        """What the manifest says of it."""
        return Descriptor(
            self.media_type,
            spec.sha256_digest(self.data),
            len(self.data),
            extra=(("annotations", dict(self.annotations)),),
        )


def tag(digest: str, suffix: str) -> str:
    """Return the tag under which cosign keeps signatures (`sig`) or statements (`att`)."""
    return f"{digest.replace(':', '-')}.{suffix}"


def signature_layer(payload: bytes, signature: bytes) -> Layer:
    """Return the layer of a payload in simple signing and its signature."""
    text = base64.b64encode(signature).decode()
    return Layer(simple_signing.MEDIA_TYPE, payload, ((SIGNATURE_KEY, text),))


def statement_layer(envelope: bytes, kind: str) -> Layer:
    """Return the layer of a signed statement of the type `kind`."""
    # cosign takes a layer without the first for unsigned.
    return Layer(ENVELOPE, envelope, ((SIGNATURE_KEY, ""), (_TYPE_KEY, kind)))


def append(manifest: bytes | None, layers: Sequence[Layer]) -> tuple[bytes, bytes] | None:
    """Return the manifest with the layers added, and its config; None if it has all of them.

    Raise DocumentError if it is not one of cosign's.
    """
    present = read_manifest(manifest) if manifest is not None else ()
    known = {_identity(each) for each in present}
    new = [each.descriptor for each in layers if _identity(each.descriptor) not in known]
    if not new:
        return None
    entries = [*present, *new]
    time = "0001-01-01T00:00:00Z"
    config = spec.encode_json(
        {
            "architecture": "",
            "config": {},
            "created": time,
            "history": [{"created": time} for _ in entries],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [each.digest for each in entries]},
        }
    )
    descriptor = Descriptor(spec.OCI_CONFIG, spec.sha256_digest(config), len(config))
    document = {
        "schemaVersion": 2,
        "mediaType": spec.OCI_MANIFEST,
        "config": descriptor.to_json(),
        "layers": [each.to_json() for each in entries],
    }
    return spec.encode_json(document), config


def read_manifest(data: bytes) -> tuple[Descriptor, ...]:
    """Return the layers of a manifest; raise DocumentError."""
    document = parse_object(data)
    entries = document.get("layers")
    if document.get("mediaType") != spec.OCI_MANIFEST or not isinstance(entries, list):
        raise DocumentError(f"must be a manifest of {spec.OCI_MANIFEST} with layers")
    try:
        found = tuple(spec.parse_descriptor(each) for each in entries)
    except SpecError as error:
        raise DocumentError(str(error)) from error
    for each in found:
        if each.size > LARGEST:
            raise DocumentError(f"layer {each.digest}: {each.size} bytes are more than {LARGEST}")
    return found


def subject_of(data: bytes) -> str | None:
    """Return the digest of the image that a manifest refers to; raise DocumentError."""
    subject = parse_object(data).get("subject")
    return str(subject.get("digest")) if isinstance(subject, dict) else None


def annotation(descriptor: Descriptor, name: str) -> str:
    """Return an annotation of a layer, "" without it."""
    found: Any = descriptor.member("annotations")
    return str(found.get(name, "")) if isinstance(found, dict) else ""


def _identity(descriptor: Descriptor) -> tuple[str, str]:
    return descriptor.digest, json.dumps(descriptor.member("annotations"), sort_keys=True)
