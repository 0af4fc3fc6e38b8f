"""Fetches what a URL answers with, without becoming a way into the operator's network.

Only http and https, only hosts the operator has named, at each redirect anew. A name is resolved
once, the addresses are checked, and the connection goes to a checked address, so that a name
server cannot answer differently the second time. The environment's proxies are not used.
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
    """What may be fetched."""

    hosts: tuple[str, ...]
    """Lower case; `*` is any."""
    private_addresses: bool
    timeout: float
    """Seconds for the whole of it."""


@dataclass(frozen=True)
class _Address:
    scheme: str
    host: str
    port: int
    target: str
    url: str


@contextmanager
def fetched(url: str, *, rules: FetchRules) -> Iterator[Iterator[bytes]]:
    """Yield the answer's body in chunks. Raises ForbiddenImportError or ImportFailedError."""
    deadline = time.monotonic() + rules.timeout
    for _ in range(REDIRECTS + 1):
        address = _parsed(url, rules=rules)
        connection = _connection(address, rules=rules)
        try:
            reply = _asked(connection, address, rules=rules)
            location = reply.getheader("location")
            if reply.status in (301, 302, 303, 307, 308) and location:
                url = urllib.parse.urljoin(address.url, location)
                continue
            if reply.status != 200:
                raise ImportFailedError(f"{address.host} answers {reply.status}.")
            yield _chunks(connection, reply, address, deadline=deadline)
            return
        finally:
            connection.close()
    raise ImportFailedError(f"The address leads on more than {REDIRECTS} times.")


def _parsed(url: str, *, rules: FetchRules) -> _Address:
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host.encode("idna")
    except (ValueError, UnicodeError):
        raise ForbiddenImportError("That is no address that can be fetched.") from None
    if parts.scheme not in _PORTS or not host or not url.isascii() or not url.isprintable():
        raise ForbiddenImportError("Only plain http:// and https:// addresses can be fetched.")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenImportError("An address with a user name or password is not fetched.")
    if "*" not in rules.hosts and host not in rules.hosts:
        raise ForbiddenImportError(f"IMPORT_HOSTS does not name {host}.")
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return _Address(parts.scheme, host, port, target + (f"?{query}" if query else ""), url)


def _connection(address: _Address, *, rules: FetchRules) -> http.client.HTTPConnection:
    failed = ImportFailedError(f"{address.host} cannot be reached.")
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise failed from None
    for family, kind, protocol, _, place in found:
        if not rules.private_addresses and not _public(str(place[0])):
            raise ForbiddenImportError(
                f"{address.host} is at an address that is not public; "
                "IMPORT_PRIVATE_ADDRESSES=true would allow it."
            )
        raw = socket.socket(family, kind, protocol)
        raw.settimeout(CONNECT_TIMEOUT_S)
        try:
            raw.connect(place)
            if address.scheme == "https":
                context = ssl.create_default_context()
                raw = context.wrap_socket(raw, server_hostname=address.host)
        except OSError as error:  # an SSLError too
            raw.close()
            failed = ImportFailedError(f"{address.host} cannot be reached: {_reason(error)}.")
            continue
        connection = http.client.HTTPConnection(address.host, address.port)
        connection.sock = raw
        return connection
    raise failed


def _public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        # An IPv4 address in IPv6 clothes is as private as it is.
        if found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        else:
            found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _asked(
    connection: http.client.HTTPConnection, address: _Address, *, rules: FetchRules
) -> http.client.HTTPResponse:
    port = "" if address.port == _PORTS[address.scheme] else f":{address.port}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    try:
        connection.sock.settimeout(min(rules.timeout, CONNECT_TIMEOUT_S))
        connection.request(
            "GET", address.target, headers={"Host": host + port, "Accept-Encoding": "identity"}
        )
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise ImportFailedError(f"{address.host} does not answer: {_reason(error)}.") from error


def _chunks(
    connection: http.client.HTTPConnection,
    reply: http.client.HTTPResponse,
    address: _Address,
    *,
    deadline: float,
) -> Iterator[bytes]:
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ImportFailedError(f"{address.host} has not sent all of it in time.")
        try:
            if connection.sock is not None:
                connection.sock.settimeout(min(left, CONNECT_TIMEOUT_S))
            # read1 returns what is there: a slow sender cannot hold us beyond the deadline.
            chunk = reply.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise ImportFailedError(f"{address.host} stops sending: {_reason(error)}.") from error
        if not chunk:
            if reply.length:
                raise ImportFailedError(f"{address.host} stops before the end.")
            return
        yield chunk


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return getattr(error, "strerror", None) or type(error).__name__
