"""Find the HTTP proxy for a URL in the environment, as curl, docker and Python do.

`http_proxy`, `https_proxy` (either case; for plain HTTP too, since no CGI program runs here) and
`no_proxy`: host names, `.suffixes`, `host:port`, IP addresses, networks such as `10.0.0.0/8`, `*`.
"""

from __future__ import annotations

import base64
import ipaddress
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.cli import ToolError

_DEFAULT_PORT = 80


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the headers that authorize its user."""

    host: str
    port: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def find_proxy(parts: urllib.parse.SplitResult, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a URL, None for a direct connection.

    This machine is never reached through a proxy. Raise ToolError, without the proxy's password, if
    the environment names one that cannot be used.
    """
    variable = f"{parts.scheme}_proxy"
    url = environ.get(variable) or environ.get(variable.upper())
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not url or is_loopback(parts.hostname or "") or _is_excluded(parts, excluded):
        return None
    try:
        proxy = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        port = proxy.port or _DEFAULT_PORT
    except ValueError:
        raise ToolError(f"{variable}: not a valid URL of a proxy") from None
    if proxy.scheme != "http" or not proxy.hostname:
        raise ToolError(
            f"{variable}: must be http://HOST:PORT, found scheme '{proxy.scheme}' "
            f"and host '{proxy.hostname or ''}'; proxies of other protocols are "
            "not supported"
        )
    return Proxy(host=proxy.hostname, port=port, headers=_headers(proxy))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is always this machine's.

    A name that only looks like an address, 127.0.0.1.example, may be anybody's.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_excluded(parts: urllib.parse.SplitResult, excluded: str) -> bool:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return any(_matches(entry, host, port) for entry in excluded.lower().replace(",", " ").split())


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # One of the two is a name, or the entry has a port.
    name, colon, number = entry.rpartition(":")
    if colon and number.isascii() and number.isdigit():
        if int(number) != port:
            return False
        entry = name.strip("[]")
    name = entry.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _headers(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    user, password = (urllib.parse.unquote(each or "") for each in (proxy.username, proxy.password))
    pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return {"Proxy-Authorization": f"Basic {pair}"}
