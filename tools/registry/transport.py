"""HTTP as a registry client needs it: streamed uploads, kept connections, retries.

Built on http.client of the standard library: uploads stream from a file with a known length and
survive a reset in the middle; a larger library would add nothing else that is needed.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import random
import select
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.message import Message
from pathlib import Path

from tools.cli import ToolError
from tools.registry.http_proxy import Proxy, find_proxy, is_loopback
from tools.registry.tls import is_not_tls, tls_context

_BLOCK = 1 << 18
# A manifest is at most 4 MiB (distribution-spec 1.1); no other response is much longer.
_BODY_LIMIT = 8 << 20
# How the end of a connection shows in a handshake; which of them is a matter of time.
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 300.0
# Receives a response's body piece by piece, each with the status.
Receiver = Callable[[int, bytes], None]


class TransportError(ToolError):
    """There was no usable response; `retriable` says whether a retry may help.

    `wait` is the number of seconds that the server asked to wait, if it did.
    """

    def __init__(self, message: str, *, retriable: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.wait = wait


class NotTLSError(TransportError):
    """The server does not use TLS."""


class CancelledError(Exception):
    """The user interrupted the program."""


@dataclass(frozen=True)
class FileSlice:
    """Part of a file to send: `length` bytes from `offset`."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True)
class Response:
    """A response, read completely. `url` is that of the request, after redirects."""

    status: int
    reason: str
    headers: Message
    body: bytes
    url: str = ""


@dataclass(frozen=True)
class Options:
    """How to connect. Times in seconds; `retries` counts the attempts after the first."""

    insecure: bool = False
    ca_file: Path | None = None
    retries: int = 5
    first_delay: float = 0.5
    timeout: float = 300.0
    environ: Mapping[str, str] = field(default_factory=dict)


class Transport:
    """Send requests; each thread has its own connections. Safe to share between threads."""

    def __init__(
        self,
        options: Options,
        *,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.options = options
        self._cancelled = threading.Event()
        self._active: set[http.client.HTTPConnection] = set()
        self.warn = warn
        self._local = threading.local()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | FileSlice = b"",
        sent: Callable[[int], None] = lambda _: None,
        receive: Receiver | None = None,
        retry: bool = True,
    ) -> Response:
        """Send a request, and retry it as long as the response asks for that.

        `sent` is called with the number of bytes sent, and with its negative when the attempt
        fails. `receive` gets the body of a response 200 or 206 as it arrives, with the status; the
        Response then has none. After the last attempt the response is returned as it is. Without
        `retry` there is one attempt. Raise TransportError, or CancelledError after `cancel`.
        """
        attempts = 1 + (self.options.retries if retry else 0)
        for attempt in range(1, attempts + 1):
            self.check_cancelled()
            gone = 0

            def count(amount: int) -> None:
                nonlocal gone
                gone += amount
                sent(amount)

            try:
                response = self._send(
                    method, url, headers=headers, body=body, sent=count, receive=receive
                )
                if response.status not in _RETRIED or attempt == attempts:
                    return replace(response, url=url)
                cause = f"{response.status} {response.reason}"
                wait = self.delay(attempt, retry_after(response))
            except TransportError as error:
                sent(-gone)
                if not error.retriable or attempt == attempts:
                    raise
                cause, wait = str(error), self.delay(attempt, error.wait)
            else:
                sent(-gone)
            self.warn(f"{method} {without_query(url)}: {cause}; retrying in {wait:.1f} s")
            self.pause(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def delay(self, attempt: int, asked: float | None) -> float:
        """Return the seconds to wait after failed attempt number `attempt`.

        That is what the server `asked` for; else the wait doubles, with a random part so that
        clients that failed together do not retry together. Raise TransportError when the server
        asks for too long a wait.
        """
        if asked is not None:
            if asked > _LONGEST_WAIT:
                raise TransportError(
                    f"the registry asks to wait {asked:.0f} s, longer than {_LONGEST_WAIT:.0f} s",
                    retriable=False,
                )
            return asked
        longest = self.options.first_delay * float(2 ** (attempt - 1))
        return min(30.0, longest * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    def pause(self, seconds: float) -> None:
        """Wait, at most until `cancel` is called."""
        self._cancelled.wait(seconds)
        self.check_cancelled()

    def cancel(self) -> None:
        """Stop every request, also those in progress; a signal handler may call it."""
        self._cancelled.set()
        for connection in tuple(self._active):
            with contextlib.suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def check_cancelled(self) -> None:
        """Raise CancelledError after `cancel`."""
        if self._cancelled.is_set():
            raise CancelledError

    def _send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | FileSlice,
        sent: Callable[[int], None],
        receive: Receiver | None,
    ) -> Response:
        """Make one attempt, over a kept connection unless it has gone stale."""
        parts = urllib.parse.urlsplit(url)
        key = (parts.scheme, parts.netloc)
        pool = self._pool()
        kept = pool.pop(key, None)
        if kept is not None and _has_ended(kept):
            kept.close()
            kept = None
        proxy = self._proxy(parts)
        connection = kept or self._connect(parts, proxy)
        length = len(body) if isinstance(body, bytes) else body.length
        all_headers = {"User-Agent": "oci-push", **headers}
        if body or method in ("POST", "PUT", "PATCH"):
            all_headers["Content-Length"] = str(length)
        blocks = None if not length else self._blocks(body, sent)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        if proxy is not None and parts.scheme == "http":
            # A proxy for plain HTTP needs the absolute URL; one for HTTPS makes a tunnel.
            target = f"http://{parts.netloc}{target}"
            all_headers.update(proxy.headers)
        self._active.add(connection)
        connected = kept is not None
        try:
            if not connected:
                connection.connect()
                connected = True
            response = self._exchange(connection, method, target, all_headers, blocks, receive)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.check_cancelled()
            hung_up = not connected and isinstance(error, _HUNG_UP)
            if parts.scheme == "https" and hung_up and is_loopback(parts.hostname or ""):
                # A server without TLS may hang up on a handshake that it does not understand.
                raise _not_tls(parts) from error
            if isinstance(error, ssl.SSLError) and kept is None:
                raise _tls_error(error, parts) from error
            way = f" through the proxy {proxy}" if proxy else ""
            raise TransportError(
                f"{parts.netloc}: connection failed{way}: {_shown(error)}",
                retriable=_may_pass(error),
            ) from error
        except BaseException:
            connection.close()
            raise
        finally:
            self._active.discard(connection)
        # http.client closes it after the last response.
        if connection.sock is not None:
            pool[key] = connection
        return response

    def _pool(self) -> dict[tuple[str, str], http.client.HTTPConnection]:
        """Return this thread's kept connections, by scheme and address."""
        if not hasattr(self._local, "pool"):
            self._local.pool = {}
        pool: dict[tuple[str, str], http.client.HTTPConnection] = self._local.pool
        return pool

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        blocks: Iterator[bytes] | None,
        receive: Receiver | None,
    ) -> Response:
        try:
            connection.request(method, target, body=blocks, headers=dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses an upload may respond before it has read it.
            found = connection.getresponse()
        else:
            found = connection.getresponse()
        if receive is not None and found.status in (200, 206):
            while block := found.read(_BLOCK):
                self.check_cancelled()
                receive(found.status, block)
            return Response(found.status, found.reason, found.headers, b"")
        body = found.read(_BODY_LIMIT + 1)
        if len(body) > _BODY_LIMIT:
            raise http.client.HTTPException(f"the response is longer than {_BODY_LIMIT} bytes")
        return Response(found.status, found.reason, found.headers, body)

    def _blocks(self, body: bytes | FileSlice, sent: Callable[[int], None]) -> Iterator[bytes]:
        if isinstance(body, bytes):
            yield body
            return
        with body.path.open("rb") as stream:
            stream.seek(body.offset)
            left = body.length
            while left:
                self.check_cancelled()
                block = stream.read(min(_BLOCK, left))
                if not block:
                    raise TransportError(
                        f"{body.path}: the file was truncated meanwhile", retriable=False
                    )
                left -= len(block)
                yield block
                sent(len(block))

    def _connect(
        self, parts: urllib.parse.SplitResult, proxy: Proxy | None
    ) -> http.client.HTTPConnection:
        host, port = parts.hostname or "", parts.port
        timeout = self.options.timeout
        if parts.scheme == "http":
            if proxy is None:
                return http.client.HTTPConnection(host, port, timeout=timeout)
            return http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)
        options = self.options
        try:
            context = tls_context(
                parts.netloc,
                insecure=options.insecure,
                ca_file=options.ca_file,
                environ=options.environ,
            )
        except ToolError as error:
            raise TransportError(str(error), retriable=False) from error
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        connection = http.client.HTTPSConnection(
            proxy.host, proxy.port, timeout=timeout, context=context
        )
        connection.set_tunnel(host, port or 443, headers=proxy.headers)
        return connection

    def _proxy(self, parts: urllib.parse.SplitResult) -> Proxy | None:
        try:
            return find_proxy(parts, self.options.environ)
        except ToolError as error:
            raise TransportError(str(error), retriable=False) from error


def retry_after(response: Response) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3)."""
    value = (response.headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            # Without a zone it is UTC, as every date in HTTP.
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def split_url(url: str) -> urllib.parse.SplitResult:
    """Return the parts of a URL that a server named; raise ValueError if none can be requested."""
    parts = urllib.parse.urlsplit(url)
    _ = parts.port  # refuses what is not one
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it has characters that a URL may not have")
    return parts


def without_query(url: str) -> str:
    """Return a URL that may be shown: queries contain upload tokens and signatures."""
    return url.partition("?")[0]


def _tls_error(error: ssl.SSLError, parts: urllib.parse.SplitResult) -> TransportError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransportError(
            f"{parts.netloc}: its certificate is not trusted: {error.verify_message}; "
            "pass the CA by --ca-file or SSL_CERT_FILE, or --insecure to skip verification",
            retriable=False,
        )
    if is_not_tls(error):
        return _not_tls(parts)
    return TransportError(f"{parts.netloc}: TLS failed: {error.reason or error}", retriable=True)


def _not_tls(parts: urllib.parse.SplitResult) -> NotTLSError:
    return NotTLSError(
        f"{parts.netloc}: does not use TLS; pass --insecure for plain HTTP", retriable=False
    )


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Return whether the server has closed an idle connection."""
    if connection.sock is None:
        return True
    # No response is outstanding, so anything to read is its end.
    watch = select.poll()
    watch.register(connection.sock, select.POLLIN)
    return bool(watch.poll(0))


def _may_pass(error: BaseException) -> bool:
    """Return whether the same request may succeed in a moment."""
    if isinstance(error, socket.gaierror):
        # An unknown host stays unknown; a failed name server may recover.
        return error.errno == socket.EAI_AGAIN
    # A proxy's refusal is final (http.client has no class for it).
    return not str(error).startswith("Tunnel connection failed: 4")


def _shown(error: BaseException) -> str:
    return str(error) or type(error).__name__
