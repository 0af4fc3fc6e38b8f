"""HTTP requests to servers on loopback, one connection each.

As httpx2's functions of the same names, which load all certificates of the system for each request:
75 ms of processor time, which tests that poll would take from the service.
"""

import functools
import ssl
from collections.abc import Mapping

import httpx2

_BARE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without certificates: nothing here is encrypted

get = functools.partial(httpx2.get, verify=_BARE, trust_env=False)
post = functools.partial(httpx2.post, verify=_BARE, trust_env=False)
delete = functools.partial(httpx2.delete, verify=_BARE, trust_env=False)
stream = functools.partial(httpx2.stream, verify=_BARE, trust_env=False)
Client = functools.partial(httpx2.Client, verify=_BARE, trust_env=False)


def check_security_headers(headers: Mapping[str, str]) -> None:
    """Check what every response has, whatever its status."""
    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "base-uri 'none'", "form-action 'self'", "object-src 'none'",
            "frame-ancestors 'none'"} <= set(policy)  # fmt: skip
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-request-id"]
