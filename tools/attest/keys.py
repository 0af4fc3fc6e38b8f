"""Private and public keys: ECDSA on P-256 (with SHA-256) and Ed25519, in PEM.

A private key is named by a file or by an environment variable that holds it (`env://NAME`), never
given on a command line, where every process of the machine could read it. It may be encrypted; its
password comes from COSIGN_PASSWORD, as with cosign, or from the terminal. No error shows any of it.

The same key and data give the same signature: ECDSA takes its nonce from them (RFC 6979).
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tools.cli import ToolError

PASSWORD_VARIABLE = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable
_VARIABLE = "env://"
_PEM = b"-----BEGIN "
_COSIGNS_OWN = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")
_ALGORITHMS = "ECDSA on P-256 and Ed25519 are supported"


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies. `source` is where it came from, for messages; equal keys are one."""

    source: str = field(compare=False)
    der: bytes
    _key: EllipticCurvePublicKey | Ed25519PublicKey = field(compare=False, repr=False)

    @property
    def pem(self) -> bytes:
        """The key in PEM, as cosign and podman read it."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def hint(self) -> str:
        """What a Sigstore bundle calls the key: the base64 SHA-256 of its DER form."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    def __str__(self) -> str:
        return f"{self.source} (sha256:{self.fingerprint[:16]})"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key's DER form, in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether `signature` is this key's signature of `data`."""
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A key that signs. It has no text form, so that no message can show it."""

    def __init__(self, key: EllipticCurvePrivateKey | Ed25519PrivateKey, source: str) -> None:
        self._key = key
        self.public = _public(source, key.public_key())

    def __repr__(self) -> str:
        return f"PrivateKey of {self.public}"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(data)
        return self._key.sign(data, ECDSA(hashes.SHA256(), deterministic_signing=True))


def load_private_key(name: str, *, here: Path, environ: Mapping[str, str]) -> PrivateKey:
    """Return the private key in the file `name` or in the variable `env://NAME`.

    Raise ToolError, without any part of the key, when there is none that can sign here.
    """
    data, source = _read(name, here=here, environ=environ)
    if any(mark in data for mark in _COSIGNS_OWN):
        raise ToolError(
            f"{source}: is in cosign's own format; a key in PKCS#8 is needed, which cosign can "
            "import: 'openssl genpkey', then 'cosign import-key-pair'"
        )
    try:
        key = _parse(data, None, source)
    except TypeError:
        # How the library says that a password is needed.
        key = _parse(data, _password(source, environ), source)
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return PrivateKey(key, source)
    if isinstance(key, Ed25519PrivateKey):
        return PrivateKey(key, source)
    raise ToolError(f"{source}: is a key of another algorithm; {_ALGORITHMS}")


def load_public_key(name: str, *, here: Path, environ: Mapping[str, str]) -> PublicKey:
    """Return the public key in the file `name` or in the variable `env://NAME`; raise ToolError."""
    data, source = _read(name, here=here, environ=environ)
    if b"PRIVATE KEY" in data:
        raise ToolError(f"{source}: is a private key; a public key verifies ('sign --public-key')")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ToolError(f"{source}: is not a public key in PEM") from None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return _public(source, key)
    if isinstance(key, Ed25519PublicKey):
        return _public(source, key)
    raise ToolError(f"{source}: is a key of another algorithm; {_ALGORITHMS}")


def _public(source: str, key: EllipticCurvePublicKey | Ed25519PublicKey) -> PublicKey:
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(source, der, key)


def _read(name: str, *, here: Path, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """Return the bytes of a key, and its name for messages."""
    if "-----BEGIN" in name or "\n" in name:
        raise ToolError(
            "--key: a key itself must not be an argument, which every process can read; "
            "give its file, or env://NAME for a variable that holds it"
        )
    if not name.startswith(_VARIABLE):
        path = here / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ToolError(f"key {path}: cannot be read: {error.strerror}") from None
        source = f"key {path}"
    else:
        variable = name.removeprefix(_VARIABLE)
        if variable not in environ:
            raise ToolError(f"key {name}: the variable is not set")
        data = environ[variable].encode("utf-8", "surrogateescape")
        source = f"key {name}"
    if _PEM not in data:
        raise ToolError(f"{source}: is not a key in PEM")
    return data, source


def _parse(data: bytes, password: bytes | None, source: str) -> object:
    """Return the private key in `data`. Raise ToolError, or TypeError if it needs a password."""
    try:
        return serialization.load_pem_private_key(data, password)
    except (ValueError, UnsupportedAlgorithm):
        # The cause is dropped: a library's message may quote what it read.
        cause = "the password is wrong, or the key is damaged" if password else "not a private key"
        raise ToolError(f"{source}: {cause}; PKCS#8 in PEM is needed") from None


def _password(source: str, environ: Mapping[str, str]) -> bytes:
    password = environ.get(PASSWORD_VARIABLE)
    if password is None and sys.stdin.isatty():
        password = getpass.getpass(f"Password of {source}: ")
    if not password:
        raise ToolError(f"{source}: is encrypted; set {PASSWORD_VARIABLE} to its password")
    return password.encode("utf-8", "surrogateescape")
