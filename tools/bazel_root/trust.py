"""Make Bazel trust the authorities this host trusts, for instance those of an intercepting proxy.

The root's own bundle and the host's are merged into `CACHE/trust/<hash>/`: a PEM bundle for
programs and a trust store for Java, made once for each set of bundles. The root itself is never
changed.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

BUNDLE = "ca-certificates.crt"
STORE = "cacerts"

# The variables by which a user names a bundle, for Python, OpenSSL, pip and curl.
VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
# Where Debian, Fedora, SUSE, Alpine and Arch keep the bundle that the administrator's tools update.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_LOCAL_AUTHORITIES = "/usr/local/share/ca-certificates/*.crt"


def trust_directory(cache: Path, *, root: Path, environ: Mapping[str, str]) -> Path:
    """Return the directory that holds BUNDLE and STORE for this host, making it if necessary."""
    texts = [(root / "usr" / "share" / "ca-bundle.pem").read_bytes(), *host_bundles(environ)]
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(text).digest() for text in texts)).hexdigest()
    target = cache / "trust" / digest[:32]
    if not target.is_dir():
        _make(target, texts)
    return target


def host_bundles(environ: Mapping[str, str]) -> list[bytes]:
    """Return the contents of the host's certificate files, without duplicates and missing ones."""
    named = [environ[name] for name in VARIABLES if environ.get(name)]
    paths = dict.fromkeys([*named, *_SYSTEM_BUNDLES, *sorted(glob.glob(_LOCAL_AUTHORITIES))])
    contents: dict[bytes, None] = {}
    for path in dict.fromkeys(os.path.realpath(path) for path in paths):
        # A variable may name a file of another machine; downloads then name the problem.
        with contextlib.suppress(OSError), open(path, "rb") as stream:
            contents[stream.read()] = None
    return list(contents)


def _make(target: Path, texts: list[bytes]) -> None:
    import tempfile

    from tools.bazel_root import certificates

    authorities = certificates.certificates(texts)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    (scratch / BUNDLE).write_bytes(certificates.pem_bundle(authorities))
    (scratch / STORE).write_bytes(certificates.java_trust_store(authorities, created=0))
    os.chmod(scratch, 0o755)  # noqa: S103 - mkdtemp makes it private
    try:
        os.rename(scratch, target)
    except OSError:
        # Another bazelw has made the same one meanwhile; both are equal.
        if not target.is_dir():
            raise
