"""Requests to a server that the operator has named, with a deadline and a limit on the response.

For small documents of a known server. What users name is fetched by `app.services.fetch`, which
also checks addresses. Redirects are not followed, and proxies from the environment are ignored.
"""

import contextlib
import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from app.services.deadline import Deadline, TimedSocket, resolve

IDLE_TIMEOUT_S = 10.0
_PORTS = {"http": 80, "https": 443}
_CHUNK = 16 * 1024


class HttpClientError(Exception):
    """The server gave no usable response; the message says why, without a final full stop."""


@dataclass(frozen=True)
class Reply:
    """A complete response."""

    status: int
    body: bytes = field(repr=False)


def request(
    method: str,
    url: str,
    *,
    deadline: Deadline,
    limit: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """Send a request and return the response. Raise HttpClientError if it exceeds `limit` bytes."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, "Accept-Encoding": "identity", **(headers or {})}
    try:
        with _connected(parts.scheme, host, parts.port, deadline=deadline) as timed:
            connection = http.client.HTTPConnection(host)
            connection.sock = cast("socket.socket", timed)
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Reply(response.status, _read(response, host, deadline=deadline, limit=limit))
    except TimeoutError:
        raise HttpClientError(f"{host} did not respond in time") from None
    except ssl.SSLCertVerificationError as error:
        raise HttpClientError(
            f"{host} has an untrusted certificate ({error.verify_message})"
        ) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise HttpClientError(f"{host} cannot be reached ({reason})") from None


@contextmanager
def _connected(
    scheme: str, host: str, port: int | None, *, deadline: Deadline
) -> Iterator[TimedSocket]:
    failure: OSError = OSError("no address")
    for family, kind, protocol, _, address in resolve(
        host, port or _PORTS[scheme], deadline=deadline
    ):
        connection = socket.socket(family, kind, protocol)
        with contextlib.closing(connection):
            try:
                connection.settimeout(min(deadline.remaining(), IDLE_TIMEOUT_S))
                connection.connect(address)
            except OSError as error:
                failure = error
                continue
            if scheme == "https":
                context = ssl.create_default_context()
                connection.settimeout(min(deadline.remaining(), IDLE_TIMEOUT_S))
                connection = context.wrap_socket(connection, server_hostname=host)
            with contextlib.closing(connection):
                yield TimedSocket(connection, deadline=deadline, idle=IDLE_TIMEOUT_S)
            return
    raise failure


def _read(
    response: http.client.HTTPResponse, host: str, *, deadline: Deadline, limit: int
) -> bytes:
    body = b""
    while True:
        deadline.remaining()
        # read1 returns what is available, so a slow sender cannot block past the deadline.
        chunk = response.read1(_CHUNK)
        body += chunk
        if len(body) > limit:
            raise HttpClientError(f"{host} sent more than {limit} bytes")
        if not chunk:
            if response.length:
                raise HttpClientError(f"{host} closed the connection early")
            return body
