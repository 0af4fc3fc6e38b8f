"""HTTP requests to servers on loopback, one connection each.

As httpx2's functions of the same names, which load all certificates of the system for each request:
75 ms of processor time, which tests that poll would take from the service.
"""

import functools
import ssl
from collections.abc import Mapping

import httpx2

TIMEOUT_S = 60.0  # httpx2's own, 5 s, says more about a loaded machine than about the service
_BARE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without certificates: nothing here is encrypted

get = functools.partial(httpx2.get, verify=_BARE, trust_env=False, timeout=TIMEOUT_S)
post = functools.partial(httpx2.post, verify=_BARE, trust_env=False, timeout=TIMEOUT_S)
delete = functools.partial(httpx2.delete, verify=_BARE, trust_env=False, timeout=TIMEOUT_S)
stream = functools.partial(httpx2.stream, verify=_BARE, trust_env=False, timeout=TIMEOUT_S)
Client = functools.partial(httpx2.Client, verify=_BARE, trust_env=False, timeout=TIMEOUT_S)


_POLICY = {"default-src 'self'", "base-uri 'none'", "form-action 'self'", "object-src 'none'",
           "frame-ancestors 'none'"}  # fmt: skip
_HEADERS = {
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def missing_security_headers(headers: Mapping[str, str]) -> list[str]:
    """Return what is missing of the headers that every response has, whatever its status."""
    missing = [name for name, value in _HEADERS.items() if headers.get(name) != value]
    missing += [] if headers.get("x-request-id") else ["x-request-id"]
    policy = headers.get("content-security-policy", "").split("; ")
    return missing + sorted(_POLICY - set(policy))
