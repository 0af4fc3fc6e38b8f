"""Readers of what a registry answers: its headers, documents, redirects, ranges and errors.

The client talks to a real server on a loopback address, which answers with damaged bytes. No other
address is ever asked, wherever an answer points to.
"""

from __future__ import annotations

import functools
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from tools.cli import ToolError
from tools.fuzz.harness import Reader
from tools.fuzz.mutation import damaged, damaged_json, damaged_parts, damaged_text
from tools.image import spec
from tools.image.names import check_image_name
from tools.registry import download
from tools.registry.authorization import parse_challenge
from tools.registry.credentials import Credentials, find_credentials
from tools.registry.errors import refusal
from tools.registry.pull_plan import media_type_of
from tools.registry.reference import Repository, parse_reference, parse_repository
from tools.registry.referrers import list_referrers, with_entry
from tools.registry.registry import Registry
from tools.registry.transport import Options, Response, Transport, retry_after, split_url

_SECRET = "hunter2-and-more"  # noqa: S105 - made up, to look for in messages
_BLOB = bytes(range(256)) * 8
_DESCRIPTOR = spec.Descriptor(spec.OCI_LAYER, spec.sha256_digest(_BLOB), len(_BLOB))
_INDEX = {
    "schemaVersion": 2,
    "mediaType": spec.OCI_INDEX,
    "manifests": [_DESCRIPTOR.to_json() | {"artifactType": "application/x"}],
}
_MANIFEST = json.dumps(_INDEX).encode()
_ERROR = {"errors": [{"code": "DENIED", "message": "no", "detail": {"a": 1}}]}


class Server:
    """Answers each connection on a loopback address with the next of given bytes, and closes it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answers: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def answer(self, answers: Sequence[bytes]) -> None:
        """Set what the next connections get; the last one again and again."""
        self._answers = list(answers)

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(5)
                try:
                    request = connection.recv(65536)
                    if request[:1] == b"\x16":  # TLS, which the client tries first
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        continue
                    while b"\r\n\r\n" not in request and (data := connection.recv(65536)):
                        request += data
                    answers = self._answers
                    connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])
                except OSError:
                    continue


_server = functools.cache(Server)


def _loopback(host: object, *rest: Any, **named: Any) -> Any:
    """Stand in for getaddrinfo: names are not looked up, and every host but our own is unknown."""
    if host != "127.0.0.1":
        raise socket.gaierror(socket.EAI_NONAME, "not looked up")
    return _getaddrinfo(host, *rest, **named)


_getaddrinfo = socket.getaddrinfo


def _answer(status: str, headers: Sequence[str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def _valid() -> list[tuple[bytes, ...]]:
    """Return conversations, in which {port} stands for the server's own."""
    ok = _answer("200 OK", ["Docker-Distribution-Api-Version: registry/2.0"], b"{}")
    manifest = [f"Content-Type: {spec.OCI_INDEX}", 'ETag: "a"']
    challenge = (
        'WWW-Authenticate: Bearer realm="http://127.0.0.1:{port}/token",service="s",scope="a,b", '
        'Basic realm="x"'
    )
    return [
        (ok, _answer("200 OK", manifest, _MANIFEST)),
        (
            _answer("401 Unauthorized", [challenge], json.dumps(_ERROR).encode()),
            _answer("200 OK", [], b'{"token": "abc", "expires_in": 300}'),
            ok,
            _answer("307 Temporary Redirect", ["Location: http://127.0.0.1:{port}/b?x=1"], b""),
            _answer("200 OK", [], _BLOB),
        ),
        (
            ok,
            _answer("206 Partial Content", ["Content-Range: bytes 0-2047/2048"], _BLOB),
            _answer("404 Not Found", ["Retry-After: 1"], json.dumps(_ERROR).encode()),
        ),
        (
            ok,
            _answer("200 OK", ['Link: </v2/a/referrers/x?n=2>; rel="next"'], _MANIFEST),
            _answer("200 OK", [], _MANIFEST),
        ),
        (ok, _answer("202 Accepted", ["Location: /v2/up", "OCI-Chunk-Min-Length: 10"], b"")),
        (ok, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ]


@st.composite
def _conversations(draw: st.DrawFn) -> tuple[bytes, ...]:
    answers = list(draw(st.sampled_from(_valid())))
    at = draw(st.integers(0, len(answers) - 1))
    lines = answers[at].splitlines(keepends=True)
    answers[at] = draw(damaged(answers[at]) | damaged_parts(lines))
    return tuple(answers)


def talk(answers: tuple[bytes, ...], directory: Path) -> None:
    """Ask for a manifest, a blob, referrers and an upload, whatever is answered."""
    server = _server()
    port = str(server.port).encode()
    transport = Transport(Options(insecure=True, retries=0, first_delay=0, timeout=5))
    secrets: list[str] = []
    credentials = Credentials(source="test", username="me", password=_SECRET)
    repository = Repository(host=f"127.0.0.1:{server.port}", name="a/b")
    registry = Registry(transport, repository, credentials=credentials, secrets=secrets)
    steps: tuple[Callable[[], object], ...] = (
        lambda: download.fetch_manifest(registry, "latest"),
        lambda: download.fetch_blob(registry, _DESCRIPTOR, directory / "blob"),
        lambda: list_referrers(registry, _DESCRIPTOR.digest),
        lambda: registry.open_upload(_DESCRIPTOR.digest),
        lambda: registry.manifest_digest("latest"),
    )
    errors: list[ToolError] = []
    with mock.patch("socket.getaddrinfo", _loopback):
        for step in steps:
            server.answer([each.replace(b"{port}", port) for each in answers])
            try:
                registry.connect()
                step()
            except ToolError as error:
                assert _SECRET not in str(error)
                errors.append(error)
    blob = directory / "blob"
    assert not blob.exists() or hashlib.sha256(blob.read_bytes()).digest() == _DIGEST
    if len(errors) == len(steps):
        raise errors[0]


_DIGEST = hashlib.sha256(_BLOB).digest()


def read_challenge(text: str, _: Path) -> None:
    """Read a WWW-Authenticate header."""
    found = parse_challenge(text)
    assert found is None or found.scheme in ("basic", "bearer")


def read_retry_after(text: str, _: Path) -> None:
    """Read a Retry-After header, a number or a date."""
    headers = Message()
    # Every header arrives as Latin-1: http.client reads them so.
    latin = text.encode("latin-1", "replace").decode("latin-1")
    headers["Retry-After"] = latin.replace("\n", "").replace("\r", "")
    seconds = retry_after(Response(503, "", headers, b""))
    assert seconds is None or seconds >= 0


def read_url(text: str, _: Path) -> None:
    """Read a URL that a server names."""
    parts = split_url(text)
    assert parts.port is None or 0 <= parts.port < 65536


def read_errors(content: bytes, _: Path) -> None:
    """Read a registry's error; its text cannot steer a terminal."""
    error = refusal("GET x", Response(403, "Forbidden", Message(), content), credentials=None)
    assert "\x1b" not in str(error)


def read_name(text: str, _: Path) -> None:
    """Read the name of a repository or an image, as people write it."""
    errors = []
    for read in (
        parse_repository,
        parse_reference,
        functools.partial(check_image_name, tag_needed=True),
    ):
        try:
            read(text)
        except ToolError as error:
            errors.append(error)
    if len(errors) == len(("repository", "reference", "name")):
        raise errors[0]


def read_index(content: bytes, _: Path) -> None:
    """Read a list of referrers, and a document's media type."""
    with_entry(content, {"digest": "sha256:" + "0" * 64})
    media_type_of(content, source="index.json")


def read_credentials(content: bytes, directory: Path) -> None:
    """Read a file of credentials; no message has a password in it."""
    file = directory / "config.json"
    file.write_bytes(content)
    try:
        find_credentials(Repository(host="host.example", name="a/b"), environ={}, files=(file,))
    except ToolError as error:
        assert _SECRET not in str(error)
        raise


_CREDENTIALS = {
    "auths": {
        "host.example/a": {"username": "me", "password": _SECRET},
        "https://host.example/v1/": {"auth": "bWU6aHVudGVyMi1hbmQtbW9yZQ==", "identitytoken": "t"},
    },
    "credHelpers": {"other.example": "none"},
}

READERS = (
    Reader("registry", _conversations(), talk),
    Reader(
        "challenge", damaged_text('Bearer realm="https://a/b",service="c", Basic'), read_challenge
    ),
    Reader("retry_after", damaged_text("120", "Sat, 06 Jun 2026 09:30:10 GMT"), read_retry_after),
    Reader("url", damaged_text("https://a:443/b?c#d", "http://[::1]/"), read_url, (ValueError,)),
    Reader("registry_error", damaged_json(_ERROR), read_errors),
    Reader(
        "image_name",
        damaged_text("host.example:5000/a/b:v1@sha256:" + "0" * 64, "app:v1", "a/b"),
        read_name,
    ),
    Reader("referrers", damaged_json(_INDEX), read_index),
    Reader("credentials", damaged_json(_CREDENTIALS), read_credentials, names="config.json"),
)
