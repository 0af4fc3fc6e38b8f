"""Refuse what pages of other sites make a browser send.

Without API keys everybody who can connect may use the service. A browser can connect to it too, and
every page can make a browser send requests. Two checks restrict this to the service's own page:

- **Host.** A site can let its name point to the service's address while its page is open (DNS
  rebinding). The browser then takes the service for a part of that site, and only the Host header
  still tells them apart. So only known names are served. An IP address cannot be rebound, so
  health checks and metrics accept any: probes of Kubernetes and Prometheus address a pod by its IP.
- **Origin.** Requests that change something are refused unless they come from the service's own
  page or from no page at all: by Sec-Fetch-Site, or, where a browser does not send it (HTTP without
  TLS, except on localhost), by comparing Origin with Host. Programs send neither header.

The responses to other requests are kept from pages of other sites by the browser itself.
"""

import ipaddress
import logging
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_response
from app.logs import event
from app.settings import LOOPBACK

PROBES = ("/health", "/health/live", "/health/ready", "/metrics")
_MAX_LOGGED = 300
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]{2,45})\]|(?P<name>[^\s:/?#@\[\]\\]{1,253}?)\.?)(?::(?P<port>[0-9]{0,5}))?",
    re.IGNORECASE,
)


class OriginCheck:
    """Answer only to known hosts, and change nothing for pages of other sites."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str], open_to_all: bool) -> None:
        """Wrap `app`. `allowed_hosts` are besides those of loopback; see ALLOWED_HOSTS.

        With `open_to_all`, any host is known unless `allowed_hosts` says otherwise.
        """
        self._app = app
        any_host = "*" in allowed_hosts or (open_to_all and not allowed_hosts)
        self._names = None if any_host else {*LOOPBACK, *allowed_hosts}
        self._suffixes = tuple(name[1:] for name in allowed_hosts if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; pass other connection types through."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if not hosts and scope["http_version"] == "1.0":
            return None  # a program: every browser sends it
        found = split_host(hosts[0]) if len(hosts) == 1 else None
        if found is None:
            return problem_response(400, title="Invalid Host header", kind=None)
        name, _ = found
        if not self._is_known(name, path=scope["path"]):
            event("request.refused", level=logging.WARNING, reason="host", host=name)
            return problem_response(
                421,
                title="Host not allowed",
                kind="host-not-allowed",
                detail=f"The service is not known as {name!r}. To use it under this name, add the "
                "name to ALLOWED_HOSTS.",
            )
        if scope["method"] in _SAFE_METHODS or _is_own(headers, host=hosts[0]):
            return None
        event(
            "request.refused",
            level=logging.WARNING,
            reason="cross-site",
            origin=headers.get("origin", "")[:_MAX_LOGGED] or None,
            site=headers.get("sec-fetch-site", "")[:_MAX_LOGGED] or None,
            host=hosts[0],
        )
        return problem_response(
            403,
            title="Cross-site request",
            kind="cross-site",
            detail="The browser says that this request comes from a page of another site. If it "
            "comes from the service's own page, the proxy in between must forward the Host header.",
        )

    def _is_known(self, name: str, *, path: str) -> bool:
        if self._names is None or name in self._names or name.endswith(self._suffixes):
            return True
        return path in PROBES and _is_address(name)


def split_host(text: str, *, scheme: str = "") -> tuple[str, str] | None:
    """Return name and port of a Host header, normalised; None if it is malformed.

    The port is empty if it is missing or the default of `scheme`.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    name, port = match["name"], match["port"] or ""
    if name is None:
        try:
            name = ipaddress.IPv6Address(match["address"]).compressed
        except ValueError:
            return None
    return name.lower(), "" if port == _DEFAULT_PORTS.get(scheme) else port


def _is_own(headers: Headers, *, host: str) -> bool:
    """Return whether a request comes from the page of `host`, or from no page at all."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme, _, rest = origin.lower().partition("://")
    if scheme not in _DEFAULT_PORTS:
        return False
    return split_host(rest, scheme=scheme) == split_host(host, scheme=scheme) is not None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
