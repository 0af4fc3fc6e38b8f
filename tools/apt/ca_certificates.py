"""Make /etc/ssl/certs as update-ca-certificates(8) does: the bundle and a link for each authority.

The hashed names (`0123abcd.0`), by which OpenSSL looks into the directory, are not made: Debian's
/usr/lib/ssl/cert.pem names the bundle, and `debian_layers_test.py` loads it.
"""

import base64
import binascii
import posixpath
from collections.abc import Mapping

from tools.cli import ToolError

SOURCE = "usr/share/ca-certificates"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def is_source(path: str) -> bool:
    """Return whether a path is a certificate of the bundle."""
    return path.startswith(f"{SOURCE}/") and path.endswith(".crt")


def bundle(certificates: Mapping[str, bytes]) -> bytes:
    """Return the certificates as one PEM file, sorted by path.

    Raise ToolError for a file that is not exactly one PEM certificate, and when there is
    none at all: an empty bundle would make every TLS connection fail, at run time.
    """
    if not certificates:
        raise ToolError(f"no certificate below /{SOURCE}: is ca-certificates missing?")
    return b"".join(_checked(path, content) for path, content in sorted(certificates.items()))


def _checked(path: str, content: bytes) -> bytes:
    lines = content.decode("ascii", "replace").strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END or _BEGIN in lines[1:]:
        raise ToolError(f"/{path}: not exactly one PEM certificate")
    try:
        base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ToolError(f"/{path}: {error}") from error
    return ("\n".join(lines) + "\n").encode()


def links(paths: Mapping[str, bytes]) -> dict[str, str]:
    """Return path → target of /etc/ssl/certs/NAME.pem for each certificate."""
    return {
        f"etc/ssl/certs/{posixpath.basename(path).removesuffix('.crt')}.pem": f"/{path}"
        for path in sorted(paths)
    }
