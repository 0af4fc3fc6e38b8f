"""TLS of a registry: trusted CAs, client certificates, and servers that do not use TLS."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from tools.cli import ToolError

# Bundles of common systems; OpenSSL's own default is a path of the system it was built on.
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_HOST_DIRECTORIES = ("/etc/docker/certs.d", "/etc/containers/certs.d")
# A file, and what changes when its content does.
_Stamped = tuple[Path, object]
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


def tls_context(
    host: str, *, insecure: bool, ca_file: Path | None, environ: Mapping[str, str]
) -> ssl.SSLContext:
    """Return a context for `host` (with its port, as docker and podman name their directories).

    It trusts the system's CAs, or those of SSL_CERT_FILE and SSL_CERT_DIR; `ca_file`; and those
    that docker and podman keep for the host: `*.crt` are CAs, `*.cert` with `*.key` client
    certificates.
    Raise ToolError for a file that cannot be used.
    """
    directories = _host_directories(host, environ)
    identities = [file for each in directories for file in sorted(each.glob("*.cert"))]
    authorities = [] if insecure else _authorities(directories, environ)
    if ca_file is not None and not insecure:
        authorities.append(ca_file)
    return _context(
        insecure=insecure,
        identities=tuple((file, (_stamp(file), _stamp(_key_of(file)))) for file in identities),
        authorities=tuple((file, _stamp(file)) for file in authorities),
        own=tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")),
    )


def is_not_tls(error: ssl.SSLError) -> bool:
    """Return whether the server does not use TLS."""
    return error.reason in _NOT_TLS


@functools.lru_cache(maxsize=16)
def _context(
    *,
    insecure: bool,
    identities: tuple[_Stamped, ...],
    authorities: tuple[_Stamped, ...],
    own: tuple[str | None, ...],
) -> ssl.SSLContext:
    """Return the context of the files, and of those that OpenSSL's `own` variables name.

    Connections share it: reading the system's CAs takes longer than a request.
    """
    del own  # create_default_context() reads them.
    context = ssl.create_default_context()
    for certificate, _ in identities:
        _identify(context, certificate)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file, _ in authorities:
        _trust(context, file)
    return context


def _stamp(file: Path) -> object:
    try:
        status = file.stat()
    except OSError:
        return None  # Whoever reads it reports that.
    return status.st_ino, status.st_size, status.st_mtime_ns


def _host_directories(host: str, environ: Mapping[str, str]) -> list[Path]:
    roots = [Path(each) for each in _HOST_DIRECTORIES]
    if environ.get("HOME"):
        roots.append(Path(environ["HOME"]) / ".config" / "containers" / "certs.d")
    return [root / host for root in roots]


def _authorities(directories: list[Path], environ: Mapping[str, str]) -> list[Path]:
    if environ.get("SSL_CERT_FILE"):
        # OpenSSL reads it too, but silently ignores a missing file.
        bundles = [Path(environ["SSL_CERT_FILE"])]
    else:
        bundles = [path for path in map(Path, _CA_BUNDLES) if path.is_file()][:1]
    return [*bundles, *(file for each in directories for file in sorted(each.glob("*.crt")))]


def _trust(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        raise ToolError(f"{file}: cannot be used as a file of CA certificates: {error}") from error


def _key_of(certificate: Path) -> Path:
    return certificate.with_suffix(".key")


def _identify(context: ssl.SSLContext, certificate: Path) -> None:
    key = _key_of(certificate)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ToolError(
            f"{certificate}: cannot be used with {key.name} as a client's certificate: {error}"
        ) from error
