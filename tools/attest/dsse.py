"""Signed statements: DSSE envelopes, and the Sigstore bundles that cosign 3 puts around them.

https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md),
https://github.com/sigstore/protobuf-specs (sigstore_bundle.proto, version 0.3).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.attest.keys import PrivateKey, PublicKey
from tools.attest.statement import DocumentError, parse_object
from tools.image.spec import encode_json

IN_TOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_BUNDLES = "application/vnd.dev.sigstore.bundle"


@dataclass(frozen=True)
class Envelope:
    """A payload with its type, and signatures of both."""

    payload: bytes
    signatures: tuple[bytes, ...]
    kind: str = IN_TOTO

    def signers(self, keys: Sequence[PublicKey]) -> list[PublicKey]:
        """Return those of `keys` that signed it."""
        data = pre_authentication(self.kind, self.payload)
        return [key for key in keys if any(key.verifies(each, data) for each in self.signatures)]

    def to_json(self) -> dict[str, Any]:
        """Return the envelope as JSON."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.kind,
            "signatures": [
                {"keyid": "", "sig": base64.b64encode(each).decode()} for each in self.signatures
            ],
        }


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """Return what is signed: type and payload, so that neither can be taken for another."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(payload: bytes, key: PrivateKey) -> Envelope:
    """Return the statement `payload` in an envelope, signed by `key`."""
    return Envelope(payload, (key.sign(pre_authentication(IN_TOTO, payload)),))


def bundle(envelope: Envelope, key: PublicKey) -> bytes:
    """Return the bundle of an envelope that `key` signed."""
    return encode_json(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": key.hint}},
            "dsseEnvelope": envelope.to_json(),
        }
    )


def read_envelope(data: bytes) -> Envelope:
    """Read an envelope or a bundle of one; raise DocumentError."""
    document: Any = parse_object(data)
    if str(document.get("mediaType")).startswith(_BUNDLES):
        document = document.get("dsseEnvelope")
        if not isinstance(document, dict):
            raise DocumentError("a bundle without a DSSE envelope")
    payload, kind, signatures = (
        document.get(name) for name in ("payload", "payloadType", "signatures")
    )
    if not isinstance(payload, str) or not isinstance(kind, str):
        raise DocumentError("not a DSSE envelope: 'payload' and 'payloadType' must be strings")
    if not isinstance(signatures, list) or not all(isinstance(each, dict) for each in signatures):
        raise DocumentError("not a DSSE envelope: 'signatures' must be a list of objects")
    if kind != IN_TOTO:
        raise DocumentError(f"payloadType must be {IN_TOTO}, found {kind!r}")
    return Envelope(_decode(payload), tuple(_decode(each.get("sig")) for each in signatures))


def _decode(text: Any) -> bytes:
    """Decode base64, in the standard or the URL-safe alphabet, as DSSE asks of verifiers."""
    try:
        return base64.b64decode(str(text).translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError(f"not base64: {error}") from error
