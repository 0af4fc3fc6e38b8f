"""An image's digest and the keys that are trusted → who signed what of it.

Anybody may add signatures beside ours, so one that does not verify is no error as long as another
does; it is listed, because it explains a refusal.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.attest import cosign, simple_signing
from tools.attest.dsse import Envelope, read_envelope
from tools.attest.keys import PublicKey
from tools.attest.statement import SIGNATURE, DocumentError, Statement, read_statement
from tools.attest.store import DamagedError, Store
from tools.image.spec import Descriptor


@dataclass(frozen=True)
class Signed:
    """What one key signed of the image, and where it was found."""

    key: PublicKey
    where: str
    # None: the image itself.
    statement: Statement | None = None


@dataclass(frozen=True)
class Evidence:
    """What was found of one image: what verified, and why the rest did not."""

    signed: tuple[Signed, ...]
    problems: tuple[str, ...]

    @property
    def signatures(self) -> list[Signed]:
        """The signatures of the image itself."""
        return [each for each in self.signed if each.statement is None]

    def statements(self, kind: str | None = None) -> list[Signed]:
        """Return the statements, or those of one predicate type."""
        return [
            each for each in self.signed if each.statement and kind in (None, each.statement.kind)
        ]


@dataclass(frozen=True)
class Expected:
    """What must be signed, by one of which keys, and under which name (None: any)."""

    digest: str
    keys: Sequence[PublicKey]
    repository: str | None = None


def gather(store: Store, expected: Expected) -> Evidence:
    """Verify all that `store` has of an image.

    Raise TransportError or RegistryError when the registry cannot be read.
    """
    signed: list[Signed] = []
    problems: list[str] = []
    for where, read in _documents(store, expected.digest, problems):
        try:
            signed.extend(read.verify(store, expected, where))
        except (DocumentError, DamagedError) as error:
            problems.append(f"{where}: {error}")
    return Evidence(tuple(signed), tuple(problems))


def envelope_signers(envelope: Envelope, expected: Expected, where: str) -> list[Signed]:
    """Return who signed an envelope with a statement about the image; raise DocumentError."""
    signers = envelope.signers(expected.keys)
    if not signers:
        raise DocumentError("no signature of a trusted key")
    statement = read_statement(envelope.payload)
    if expected.digest not in statement.digests:
        raise DocumentError(f"it is about another image, {', '.join(statement.digests) or 'none'}")
    if statement.kind == SIGNATURE:
        _check_repository(statement.names.get(expected.digest, ""), expected.repository)
        return [Signed(key, where) for key in signers]
    return [Signed(key, where, statement) for key in signers]


@dataclass(frozen=True)
class _Layer:
    """A signed document in the manifest under one of cosign's tags."""

    descriptor: Descriptor
    suffix: str

    def verify(self, store: Store, expected: Expected, where: str) -> list[Signed]:
        data = store.blob(self.descriptor)
        if self.suffix == "att":
            return envelope_signers(read_envelope(data), expected, where)
        signature = _signature(self.descriptor)
        signers = [key for key in expected.keys if key.verifies(signature, data)]
        if not signers:
            raise DocumentError("no signature of a trusted key")
        _check_repository(simple_signing.check_payload(data, expected.digest), expected.repository)
        return [Signed(key, where) for key in signers]


@dataclass(frozen=True)
class _Bundle:
    """An artifact that refers to the image and holds a Sigstore bundle."""

    digest: str

    def verify(self, store: Store, expected: Expected, where: str) -> list[Signed]:
        manifest = store.manifest(self.digest)
        if cosign.subject_of(manifest) != expected.digest:
            raise DocumentError(f"it refers to another image, {cosign.subject_of(manifest)}")
        layers = cosign.read_manifest(manifest)
        return [
            each
            for layer in layers
            for each in envelope_signers(read_envelope(store.blob(layer)), expected, where)
        ]


def _documents(
    store: Store, digest: str, problems: list[str]
) -> Iterator[tuple[str, _Layer | _Bundle]]:
    for suffix in ("sig", "att"):
        tag = cosign.tag(digest, suffix)
        try:
            manifest = store.find(digest, suffix)
            layers = cosign.read_manifest(manifest) if manifest is not None else ()
        except (DocumentError, DamagedError) as error:
            problems.append(f"{tag}: {error}")
            continue
        for position, layer in enumerate(layers, start=1):
            yield f"{tag}, {position} of {len(layers)}", _Layer(layer, suffix)
    for referrer in store.referrers(digest):
        yield f"referrer {referrer}", _Bundle(referrer)


def _signature(layer: Descriptor) -> bytes:
    text = cosign.annotation(layer, cosign.SIGNATURE_KEY)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError(f"the signature is not base64: {error}") from error


def _check_repository(named: str, wanted: str | None) -> None:
    """Raise DocumentError if a signature names another repository; cosign's bundles name none."""
    if wanted is not None and named not in ("", wanted):
        raise DocumentError(f"it is for another repository, {named}; --identity accepts that one")
