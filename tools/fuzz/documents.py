"""Readers of signed documents, keys, SBOM inputs and the tests of an image's structure."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tools.attest import cosign, dsse
from tools.attest.keys import PublicKey, load_private_key, load_public_key
from tools.attest.simple_signing import check_payload, make_payload
from tools.attest.statement import DocumentError, make_statement, read_statement
from tools.fuzz.harness import Reader
from tools.fuzz.mutation import damaged, damaged_json, damaged_text
from tools.image import spec
from tools.sbom.bundled import identify
from tools.sbom.component import read_components
from tools.sbom.licenses import checked, copyright_lines
from tools.structure_test.schema import read_config

_DIGEST = "sha256:" + "1" * 64
_STATEMENT = make_statement({_DIGEST: "image"}, "https://spdx.dev/Document", {"a": [1, "x"]})
# Fixed keys: a seed must repeat a run on every machine.
_ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_ECDSA = derive_private_key(12345, SECP256R1())


def _pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


_PRIVATE = (_pem(_ED25519), _pem(_ECDSA))
_PUBLIC = (_public_pem(_ED25519), _public_pem(_ECDSA))


@functools.cache
def _signed() -> tuple[dsse.Envelope, tuple[PublicKey, ...]]:
    keys = [
        load_private_key("env://KEY", here=Path(), environ={"KEY": pem.decode()})
        for pem in _PRIVATE
    ]
    envelope = dsse.sign(_STATEMENT, keys[0])
    return envelope, tuple(key.public for key in keys)


def read_envelope(content: bytes, _: Path) -> None:
    """Read an envelope. What its key signed is what was signed, whatever else was changed."""
    found = dsse.read_envelope(content)
    if found.signers(_signed()[1]):
        assert found.payload == _STATEMENT
    read_statement(found.payload)


def read_statement_bytes(content: bytes, _: Path) -> None:
    """Read a statement."""
    read_statement(content)


def read_payload(content: bytes, _: Path) -> None:
    """Read the payload of cosign's signature, which must be of one image."""
    check_payload(content, _DIGEST)


def read_signatures(content: bytes, _: Path) -> None:
    """Read a manifest of signatures, and add one to it."""
    for each in cosign.read_manifest(content):
        cosign.annotation(each, cosign.SIGNATURE_KEY)
    cosign.subject_of(content)
    cosign.append(content, [cosign.signature_layer(b"payload", b"signature")])


def read_key(load: Callable[..., object], content: bytes, directory: Path) -> None:
    """Read a key; no message has a part of a private one."""
    file = directory / "key.pem"
    file.write_bytes(content)
    load(str(file), here=directory, environ={})


def read_sbom_components(content: bytes, directory: Path) -> None:
    """Read the components of an SBOM."""
    file = directory / "components.json"
    file.write_bytes(content)
    read_components(file)


def read_licence(text: str, _: Path) -> None:
    """Read a licence expression and the notices of a licence text."""
    found = checked(text)
    assert found is None or checked(found) == found
    copyright_lines(text)


def read_library(content: bytes, _: Path) -> None:
    """Look for the version that a bundled library states of itself."""
    for stem in ("libssl", "libavcodec", "libz", "libopenblas"):
        identify(stem, content, file="x.libs/libssl-1.so")


def read_structure_test(text: str, directory: Path) -> None:
    """Read a structure test in YAML."""
    file = directory / "test.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_config(file)


def _manifest() -> dict[str, object]:
    empty = {"mediaType": spec.OCI_CONFIG, "digest": _DIGEST, "size": 2}
    layer = cosign.signature_layer(b"payload", b"signature").descriptor.to_json()
    return {
        "schemaVersion": 2,
        "mediaType": spec.OCI_MANIFEST,
        "config": empty,
        "layers": [layer],
        "subject": {"mediaType": spec.OCI_MANIFEST, "digest": _DIGEST, "size": 5},
    }


_COMPONENT = {
    "ref": "pypi-a",
    "name": "a",
    "version": "1",
    "purl": "pkg:pypi/a@1",
    "license": "MIT",
    "files": ["x"],
    "needs": ["b>=1"],
    "sha256": hashlib.sha256(b"").hexdigest(),
}
_STRUCTURE_TEST = """schemaVersion: 2.0.0
commandTests:
  - name: python
    command: python3
    args: ["-V"]
    expectedOutput: ["3\\\\.11.*"]
fileExistenceTests:
  - name: passwd
    path: /etc/passwd
    shouldExist: true
    permissions: "-rw-r--r--"
    uid: 0
metadataTest:
  envVars: [{key: A, value: b}]
  exposedPorts: ["8000"]
  entrypoint: []
"""
_ENVELOPE = _signed()[0].to_json()
_BUNDLE = json.loads(dsse.bundle(_signed()[0], _signed()[1][0]))

READERS = (
    Reader("dsse", damaged_json(_ENVELOPE, _BUNDLE), read_envelope, refusals=(DocumentError,)),
    Reader(
        "statement",
        damaged_json(json.loads(_STATEMENT)),
        read_statement_bytes,
        refusals=(DocumentError,),
    ),
    Reader(
        "simple_signing",
        damaged_json(json.loads(make_payload("host/name", _DIGEST))),
        read_payload,
        refusals=(DocumentError,),
    ),
    Reader("signatures", damaged_json(_manifest()), read_signatures, refusals=(DocumentError,)),
    Reader(
        "public_key",
        damaged(*_PUBLIC, *_PRIVATE),
        functools.partial(read_key, load_public_key),
        names="key.pem",
    ),
    Reader(
        "private_key",
        damaged(*_PRIVATE, *_PUBLIC),
        functools.partial(read_key, load_private_key),
        names="key.pem",
    ),
    Reader("components", damaged_json([_COMPONENT]), read_sbom_components, names="components.json"),
    Reader("licence", damaged_text("MIT OR (Apache-2.0 AND BSD-3-Clause)", "GPL-2+"), read_licence),
    Reader("library", damaged(b"OpenSSL 3.0.17 1 Jul 2025\0FFmpeg version 5.1.6\0"), read_library),
    Reader("structure_test", damaged_text(_STRUCTURE_TEST), read_structure_test, names="test.yaml"),
)
