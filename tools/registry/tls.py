"""TLS of a registry: trusted CAs, client certificates, and servers that do not use TLS."""

from __future__ import annotations

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
    context = ssl.create_default_context()
    directories = _host_directories(host, environ)
    for certificate in (file for each in directories for file in sorted(each.glob("*.cert"))):
        _identify(context, certificate)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for authorities in _authorities(directories, environ):
        _trust(context, authorities)
    if ca_file is not None:
        _trust(context, ca_file)
    return context


def is_not_tls(error: ssl.SSLError) -> bool:
    """Return whether the server does not use TLS."""
    return error.reason in _NOT_TLS


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


def _identify(context: ssl.SSLContext, certificate: Path) -> None:
    key = certificate.with_suffix(".key")
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ToolError(
            f"{certificate}: cannot be used with {key.name} as a client's certificate: {error}"
        ) from error
