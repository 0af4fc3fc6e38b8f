"""Fetch a URL without opening a way into the operator's network (SSRF).

Only http and https, and only hosts on the allowlist, checked again at each redirect. A name is
resolved once, its addresses are checked, and the connection uses a checked address, so DNS
rebinding has no effect. Proxies from the environment are ignored.

One deadline covers every step: looking up names, connecting, TLS, sending the request, headers,
interim responses, chunk sizes, the body, trailers, and the same again after each redirect.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from app.errors import ForbiddenImportError, ImportFailedError
from app.services.deadline import Deadline, TimedSocket, resolve

REDIRECTS = 5
# For each wait of a fetch, within its deadline.
IDLE_TIMEOUT_S = 10.0
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
    """In seconds, for the whole fetch with all redirects."""
    settings: str = "IMPORT"
    """What the names of the variables that set these rules begin with, for messages."""
    tls: bool = False
    """Refuse http:// unless the address is not public."""
    idle: float = IDLE_TIMEOUT_S
    """In seconds, for each wait; to connect to one of several addresses, IDLE_TIMEOUT_S at most."""


@dataclass(frozen=True)
class Target:
    """A URL that `parse` has accepted."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""
    url: str


@contextmanager
def fetch(url: str, *, rules: FetchRules) -> Iterator[Iterator[bytes]]:
    """Yield the response body in chunks. Raise ForbiddenImportError or ImportFailedError."""
    deadline = Deadline(rules.timeout)
    for _ in range(REDIRECTS + 1):
        target = parse(url, rules=rules)
        with connected(target, rules=rules, deadline=deadline) as timed:
            response = request(timed, target)
            location = response.getheader("location")
            if response.status in (301, 302, 303, 307, 308) and location:
                url = urllib.parse.urljoin(target.url, location)
                continue
            if response.status != 200:
                raise ImportFailedError(f"{target.host} responded with status {response.status}.")
            yield read_chunks(response, target, deadline=deadline)
            return
    raise ImportFailedError(f"More than {REDIRECTS} redirects.")


def parse(url: str, *, rules: FetchRules) -> Target:
    """Return the parts of a URL. Raise ForbiddenImportError if the rules forbid it."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host.encode("idna")
    except (ValueError, UnicodeError):
        raise ForbiddenImportError("Not a valid http(s) URL.") from None
    if parts.scheme not in _PORTS or not host or not url.isascii() or not url.isprintable():
        raise ForbiddenImportError("Only plain http:// and https:// URLs are allowed.")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenImportError("URLs with a user name or password are not allowed.")
    if "*" not in rules.hosts and host not in rules.hosts:
        raise ForbiddenImportError(f"{host} is not in {rules.settings}_HOSTS.")
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return Target(parts.scheme, host, port, path + (f"?{query}" if query else ""), url)


def check(url: str, *, rules: FetchRules) -> None:
    """Raise ForbiddenImportError if the rules forbid a URL, or an address its name has now."""
    target = parse(url, rules=rules)
    try:
        resolved = resolve(target.host, target.port, deadline=Deadline(rules.idle))
    except (OSError, UnicodeError):
        return  # its name may be known later
    for _family, _kind, _protocol, _name, address in resolved:
        _check_address(target, str(address[0]), rules=rules)


@contextmanager
def connected(target: Target, *, rules: FetchRules, deadline: Deadline) -> Iterator[TimedSocket]:
    """Connect, with TLS for https. Raise ForbiddenImportError or ImportFailedError."""
    with contextlib.closing(_connect(target, rules=rules, deadline=deadline)) as connection:
        yield TimedSocket(connection, deadline=deadline, idle=rules.idle)


def _connect(target: Target, *, rules: FetchRules, deadline: Deadline) -> socket.socket:
    failure = ImportFailedError(f"{target.host} cannot be resolved.")
    try:
        resolved = resolve(target.host, target.port, deadline=deadline)
    except TimeoutError:
        raise ImportFailedError(f"{target.host} cannot be resolved: timed out.") from None
    except (OSError, UnicodeError):
        raise failure from None
    for family, kind, protocol, _, address in resolved:
        _check_address(target, str(address[0]), rules=rules)
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(min(deadline.remaining(), rules.idle, IDLE_TIMEOUT_S))
            raw.connect(address)
            if target.scheme == "https":
                context = ssl.create_default_context()
                # For the handshake as a whole, not for each of its messages.
                raw.settimeout(min(deadline.remaining(), rules.idle, IDLE_TIMEOUT_S))
                raw = context.wrap_socket(raw, server_hostname=target.host)
        except OSError as error:  # includes SSLError
            raw.close()
            failure = ImportFailedError(f"Cannot connect to {target.host}: {_reason(error)}.")
            continue
        return raw
    raise failure


def _check_address(target: Target, address: str, *, rules: FetchRules) -> None:
    public = _is_public(address)
    if not public and not rules.private_addresses:
        raise ForbiddenImportError(
            f"{target.host} resolves to a non-public address; "
            f"{rules.settings}_PRIVATE_ADDRESSES=true would allow it."
        )
    if public and rules.tls and target.scheme != "https":
        raise ForbiddenImportError(f"{target.host} resolves to a public address; use https://.")


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        # An IPv4 address embedded in an IPv6 address is judged as the IPv4 address.
        if address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        else:
            address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast


def request(
    timed: TimedSocket,
    target: Target,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> http.client.HTTPResponse:
    """Send a request; return the response without its body. Raise ImportFailedError."""
    port = "" if target.port == _PORTS[target.scheme] else f":{target.port}"
    host = f"[{target.host}]" if ":" in target.host else target.host
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = cast("socket.socket", timed)
    sent = {"Host": host + port, "Accept-Encoding": "identity", **(headers or {})}
    try:
        connection.request(method, target.path, body=body, headers=sent)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise ImportFailedError(f"No response from {target.host}: {_reason(error)}.") from error


def read_chunks(
    response: http.client.HTTPResponse, target: Target, *, deadline: Deadline
) -> Iterator[bytes]:
    """Yield the body of a response. Raise ImportFailedError."""
    while True:
        try:
            deadline.remaining()
            # read1 returns what is available, so a slow sender cannot block past the deadline.
            chunk = response.read1(CHUNK)
        except TimeoutError:
            raise ImportFailedError(f"The download from {target.host} timed out.") from None
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
