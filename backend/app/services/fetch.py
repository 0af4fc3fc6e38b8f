"""Fetch a URL without opening a way into the operator's network (SSRF).

Only http and https, and only hosts on the allowlist, checked again at each redirect. A name is
resolved once, its addresses are checked, and the connection uses a checked address, so DNS
rebinding has no effect. Proxies from the environment are ignored.
"""

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import ForbiddenImportError, ImportFailedError

REDIRECTS = 5
CONNECT_TIMEOUT_S = 10.0
CHUNK = 256 * 1024
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


@dataclass(frozen=True)
class FetchRules:
    """Which URLs may be fetched, and how long a fetch may take."""

    hosts: tuple[str, ...]
    """Allowed hosts in lower case; `*` allows any."""
    private_addresses: bool
    timeout: float
    """In seconds, for the whole fetch."""


@dataclass(frozen=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: str
    """With the query."""
    url: str


@contextmanager
def fetch(url: str, *, rules: FetchRules) -> Iterator[Iterator[bytes]]:
    """Yield the response body in chunks. Raise ForbiddenImportError or ImportFailedError."""
    deadline = time.monotonic() + rules.timeout
    for _ in range(REDIRECTS + 1):
        target = _parse(url, rules=rules)
        connection = _connect(target, rules=rules)
        try:
            response = _request(connection, target, rules=rules)
            location = response.getheader("location")
            if response.status in (301, 302, 303, 307, 308) and location:
                url = urllib.parse.urljoin(target.url, location)
                continue
            if response.status != 200:
                raise ImportFailedError(f"{target.host} responded with status {response.status}.")
            yield _read_chunks(connection, response, target, deadline=deadline)
            return
        finally:
            connection.close()
    raise ImportFailedError(f"More than {REDIRECTS} redirects.")


def _parse(url: str, *, rules: FetchRules) -> _Target:
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host.encode("idna")
    except (ValueError, UnicodeError):
        raise ForbiddenImportError("Not a valid http(s) URL.") from None
    if parts.scheme not in _PORTS or not host or not url.isascii() or not url.isprintable():
        raise ForbiddenImportError("Only plain http:// and https:// URLs can be imported.")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenImportError("URLs with a user name or password are not allowed.")
    if "*" not in rules.hosts and host not in rules.hosts:
        raise ForbiddenImportError(f"{host} is not in IMPORT_HOSTS.")
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return _Target(parts.scheme, host, port, path + (f"?{query}" if query else ""), url)


def _connect(target: _Target, *, rules: FetchRules) -> http.client.HTTPConnection:
    failure = ImportFailedError(f"{target.host} cannot be resolved.")
    try:
        resolved = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise failure from None
    for family, kind, protocol, _, address in resolved:
        if not rules.private_addresses and not _is_public(str(address[0])):
            raise ForbiddenImportError(
                f"{target.host} resolves to a non-public address; "
                "IMPORT_PRIVATE_ADDRESSES=true would allow it."
            )
        raw = socket.socket(family, kind, protocol)
        raw.settimeout(CONNECT_TIMEOUT_S)
        try:
            raw.connect(address)
            if target.scheme == "https":
                context = ssl.create_default_context()
                raw = context.wrap_socket(raw, server_hostname=target.host)
        except OSError as error:  # includes SSLError
            raw.close()
            failure = ImportFailedError(f"Cannot connect to {target.host}: {_reason(error)}.")
            continue
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.sock = raw
        return connection
    raise failure


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        # An IPv4 address embedded in an IPv6 address is judged as the IPv4 address.
        if address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        else:
            address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast


def _request(
    connection: http.client.HTTPConnection, target: _Target, *, rules: FetchRules
) -> http.client.HTTPResponse:
    port = "" if target.port == _PORTS[target.scheme] else f":{target.port}"
    host = f"[{target.host}]" if ":" in target.host else target.host
    try:
        connection.sock.settimeout(min(rules.timeout, CONNECT_TIMEOUT_S))
        connection.request(
            "GET", target.path, headers={"Host": host + port, "Accept-Encoding": "identity"}
        )
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise ImportFailedError(f"No response from {target.host}: {_reason(error)}.") from error


def _read_chunks(
    connection: http.client.HTTPConnection,
    response: http.client.HTTPResponse,
    target: _Target,
    *,
    deadline: float,
) -> Iterator[bytes]:
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise ImportFailedError(f"The download from {target.host} timed out.")
        try:
            if connection.sock is not None:
                connection.sock.settimeout(min(remaining, CONNECT_TIMEOUT_S))
            # read1 returns what is available, so a slow sender cannot block past the deadline.
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise ImportFailedError(
                f"The download from {target.host} failed: {_reason(error)}."
            ) from error
        if not chunk:
            if response.length:
                raise ImportFailedError(f"{target.host} closed the connection early.")
            return
        yield chunk


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"untrusted certificate ({error.verify_message})"
    return getattr(error, "strerror", None) or type(error).__name__
