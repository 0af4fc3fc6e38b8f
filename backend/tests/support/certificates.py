"""A self-signed certificate for a server on localhost, made from nothing (RFC 5280, RFC 8017)."""

import base64
import hashlib
import math
import secrets
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

_SMALL = [n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1))]
_EXPONENT = 65537


def make(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context, and its certificate as a file."""
    p, q = _prime(), _prime()
    n, d = p * q, pow(_EXPONENT, -1, math.lcm(p - 1, q - 1))
    numbers = (0, n, _EXPONENT, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    key = _sequence(*map(_integer, numbers))
    certificate = directory / "certificate.pem"
    certificate.write_text(_pem("CERTIFICATE", _certificate(n, d)))
    private = directory / "key.pem"
    private.write_text(_pem("RSA " + "PRIVATE KEY", key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, certificate


def _prime() -> int:
    while True:
        found = secrets.randbits(1024) | (3 << 1022) | 1
        if (
            all(found % small for small in _SMALL)
            and math.gcd(found - 1, _EXPONENT) == 1
            and pow(2, found - 1, found) == 1
        ):
            return found


def _certificate(n: int, d: int) -> bytes:
    algorithm = _sequence(_tlv(6, bytes.fromhex("2a864886f70d01010b")), _tlv(5, b""))
    name = _sequence(
        _tlv(0x31, _sequence(_tlv(6, bytes.fromhex("550403")), _tlv(12, b"localhost")))
    )
    rsa = _sequence(_tlv(6, bytes.fromhex("2a864886f70d010101")), _tlv(5, b""))
    now = datetime.now(UTC)
    times = [now - timedelta(days=1), now + timedelta(days=1)]
    names = _sequence(_tlv(0x82, b"localhost"))
    body = _sequence(
        _tlv(0xA0, _integer(2)),
        _integer(1),
        algorithm,
        name,
        _sequence(*(_tlv(23, f"{time:%y%m%d%H%M%SZ}".encode()) for time in times)),
        name,
        _sequence(rsa, _bits(_sequence(_integer(n), _integer(_EXPONENT)))),
        _tlv(0xA3, _sequence(_sequence(_tlv(6, bytes.fromhex("551d11")), _tlv(4, names)))),
    )
    digest = _sequence(
        _sequence(_tlv(6, bytes.fromhex("608648016503040201")), _tlv(5, b"")),
        _tlv(4, hashlib.sha256(body).digest()),
    )
    padded = b"\0\1" + b"\xff" * (256 - 3 - len(digest)) + b"\0" + digest
    signature = pow(int.from_bytes(padded, "big"), d, n).to_bytes(256, "big")
    return _sequence(body, algorithm, _bits(signature))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tlv(3, b"\0" + content)


def _pem(label: str, content: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n"
