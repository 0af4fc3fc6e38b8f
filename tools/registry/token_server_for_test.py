"""A real token server (distribution's token protocol) for a registry that verifies signatures.

Its key and certificate are made anew for each server. It speaks HTTP, as the registries of the
tests do.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tools.registry.registry_for_test import PASSWORD, USER

REFRESH_TOKEN = "refresh-me"


@dataclass
class TokenServer:
    """A running server; `asked` grows by the path of each request."""

    realm: str
    ca: Path
    asked: list[str] = field(default_factory=list)


class _Signer:
    """Signs claims as JSON web tokens (RFC 7515) with RS256, under a certificate."""

    def __init__(self, ca_file: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(ca_file)
        leaf = authority.issue_cert("tokens.example", key_type=trustme.KeyType.RSA)
        key = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
        assert isinstance(key, RSAPrivateKey)
        self._key = key
        certificate = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
        self._header = {
            "typ": "JWT",
            "alg": "RS256",
            "x5c": [base64.b64encode(certificate).decode()],
        }

    def token(self, access: list[dict[str, Any]], *, life: float) -> str:
        now = time.time()
        claims = {
            "iss": "test-issuer",
            "sub": USER,
            "aud": "test-registry",
            "exp": int(now + life),
            "nbf": int(now - 60),
            "iat": int(now),
            "jti": "x",
            "access": access,
        }
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (self._header, claims))
        signature = self._key.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{_base64url(signature)}"


@contextmanager
def token_server(directory: Path, *, lives: Sequence[float] = (300,)) -> Iterator[TokenServer]:
    """Give tokens to the user of the tests; the n-th lives `lives[n]` seconds, the last forever.

    Without credentials a token for reading is given, as public registries do.
    """
    directory.mkdir(parents=True, exist_ok=True)
    signer = _Signer(directory / "tokens-ca.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.append(self.path)
            expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            given = self.headers.get("Authorization")
            if given not in (None, expected):
                self._reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]})
                return
            query = urllib.parse.parse_qs(self.path.partition("?")[2])
            self._grant(query.get("scope", []), reader=given is None)

        def do_POST(self) -> None:
            running.asked.append(self.path)
            form = urllib.parse.parse_qs(
                self.rfile.read(int(self.headers["Content-Length"])).decode()
            )
            if form["grant_type"] != ["refresh_token"] or form["refresh_token"] != [REFRESH_TOKEN]:
                self._reply(401, {})
                return
            self._grant(form["scope"][0].split(), reader=False)

        def _grant(self, scopes: list[str], *, reader: bool) -> None:
            access = []
            for scope in scopes:
                kind, name, actions = scope.split(":")
                granted = [each for each in actions.split(",") if not reader or each == "pull"]
                access.append({"type": kind, "name": name, "actions": granted})
            life = lives[min(len(running.asked), len(lives)) - 1]
            self._reply(200, {"token": signer.token(access, life=life)})

        def _reply(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    realm = f"http://127.0.0.1:{server.server_address[1]}/token"
    running = TokenServer(realm=realm, ca=directory / "tokens-ca.pem")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
