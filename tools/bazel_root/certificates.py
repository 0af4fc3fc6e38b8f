"""Certificate authorities in the two forms the root needs: a PEM bundle and a Java trust store."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable

_PEM = re.compile(
    rb"-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----(.*?)-----END \1-----", re.DOTALL
)
_JKS_MAGIC = 0xFEEDFEED
_JKS_VERSION = 2
_TRUSTED_ENTRY = 2
# Not a secret: Java's own default for its trust store, there only for the checksum.
_PASSWORD = "changeit"  # noqa: S105 - public, see above


def certificates(texts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the distinct DER certificates found in PEM texts, in order; other text is skipped.

    A block that is not base64 is left out: one damaged entry in a host's bundle must not cost the
    other hundred.
    """
    found: dict[bytes, None] = {}
    for text in texts:
        for _, block in _PEM.findall(text):
            try:
                der = base64.b64decode(b"".join(block.split()), validate=True)
            except binascii.Error:
                continue
            found[_first_sequence(der)] = None
    found.pop(b"", None)
    return tuple(found)


def pem_bundle(ders: Iterable[bytes]) -> bytes:
    """Return certificates as one PEM text (RFC 7468)."""
    return b"".join(_pem(der) for der in ders)


def java_trust_store(ders: Iterable[bytes], *, created: int) -> bytes:
    """Return certificates as a Java key store (JKS), dated `created` (Unix seconds).

    The format is that of sun.security.provider.JavaKeyStore: magic, version and count, then for
    each entry its kind, alias, date in milliseconds, certificate type and bytes, and at the end a
    SHA-1 over the password in UTF-16, a fixed phrase, and all that came before.
    """
    entries = list(ders)
    body = struct.pack(">III", _JKS_MAGIC, _JKS_VERSION, len(entries))
    for number, der in enumerate(entries):
        alias = f"ca{number}-{hashlib.sha256(der).hexdigest()[:16]}"
        body += struct.pack(">I", _TRUSTED_ENTRY) + _utf(alias) + struct.pack(">Q", created * 1000)
        body += _utf("X.509") + struct.pack(">I", len(der)) + der
    salted = _PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body
    return body + hashlib.sha1(salted).digest()  # noqa: S324 - the format's checksum


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def _utf(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return struct.pack(">H", len(encoded)) + encoded


def _first_sequence(der: bytes) -> bytes:
    """Cut off what OpenSSL's TRUSTED CERTIFICATE appends; b"" when it is no certificate."""
    if len(der) < 4 or der[0] != 0x30:
        return b""
    length, header = der[1], 2
    if length & 0x80:
        octets = length & 0x7F
        header += octets
        length = int.from_bytes(der[2:header], "big")
    return der[: header + length] if header + length <= len(der) else b""
