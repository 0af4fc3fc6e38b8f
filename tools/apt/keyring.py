"""Tell the strength of an OpenPGP key from the keyring that holds it (RFC 9580, 4 and 5.5).

gpgv reports a good signature with the key's fingerprint and algorithm, but not with its size, and
the gpgv of Debian 12 cannot be told to want a minimum.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tools.cli import ToolError

_PUBLIC_KEY, _PUBLIC_SUBKEY = 6, 14
_VERSION = 4  # of every key that gpgv of Debian 12 can read
# First bytes of a length in the new format, from which on it has two bytes, is partial, has five.
_TWO_BYTES, _PARTIAL, _FIVE_BYTES = 192, 224, 255
_RSA = (1, 3)  # RSA, and RSA that only signs
_ELLIPTIC = (19, 22, 27, 28)  # ECDSA, EdDSA, Ed25519, Ed448
_DSA = 17
_RSA_MINIMUM_BITS = 2048


def weakness(keyring: Path, fingerprint: str) -> str | None:
    """Return why the key `fingerprint` is too weak to be trusted, None when it is strong enough.

    Raise ToolError when `keyring` cannot be read or lacks the key.
    """
    try:
        keys = dict(_keys(keyring.read_bytes()))
    except (OSError, IndexError, ValueError) as error:
        raise ToolError(
            f"the keyring {keyring} is not a series of binary OpenPGP keys: {error}; export it with"
            " gpg --export"
        ) from error
    if fingerprint not in keys:
        raise ToolError(f"the keyring {keyring} has no key {fingerprint}")
    algorithm, bits = keys[fingerprint]
    if algorithm in _ELLIPTIC:
        return None
    if algorithm not in _RSA:
        return "a DSA key" if algorithm == _DSA else f"a key of algorithm {algorithm}"
    wanted = f"an RSA key of {bits} bits, wanted at least {_RSA_MINIMUM_BITS}"
    return None if bits >= _RSA_MINIMUM_BITS else wanted


def _keys(content: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each key's fingerprint, its algorithm and the bits of its first number."""
    for tag, body in _packets(content):
        if tag not in (_PUBLIC_KEY, _PUBLIC_SUBKEY):
            continue
        # Version, 4 bytes of time, algorithm, then numbers that start with their bits.
        if body[0] != _VERSION:
            continue
        digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body)  # noqa: S324 - a name
        yield digest.hexdigest().upper(), (body[5], int.from_bytes(body[6:8], "big"))


def _packets(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        header, at = content[at], at + 1
        if not header & 0x80:
            raise ValueError(f"no packet starts at byte {at - 1}")
        if header & 0x40:
            tag = header & 0x3F
            length, at = _new_length(content, at)
        else:
            tag, size = header >> 2 & 0x0F, 1 << (header & 3)
            if header & 3 == 3:  # until the end of the file, which no key is
                raise ValueError("a packet has no length")
            length, at = int.from_bytes(content[at : at + size], "big"), at + size
        if at + length > len(content):
            raise ValueError("the last packet is cut off")
        yield tag, content[at : at + length]
        at += length


def _new_length(content: bytes, at: int) -> tuple[int, int]:
    first = content[at]
    if first < _TWO_BYTES:
        return first, at + 1
    if first < _PARTIAL:
        return (first - _TWO_BYTES << 8) + content[at + 1] + _TWO_BYTES, at + 2
    if first < _FIVE_BYTES:
        raise ValueError("a packet is in parts")
    return int.from_bytes(content[at + 1 : at + 5], "big"), at + 5
