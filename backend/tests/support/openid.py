"""A real OpenID provider on loopback: Authlib's server. It checks clients, codes, PKCE and nonces.

Its faults are for tests: what it says is changed after Authlib has done its part.
"""

import json
import os
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Authlib's server insists on HTTPS, also on loopback, unless this says otherwise.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import httpx2
from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc.jwk import OctKey, RSAKey
from tests.support import web

CLIENT_ID = "films"
CLIENT_SECRET = "client-secret-that-nobody-prints"  # noqa: S105 - of a test's provider
ANN = {"sub": "1", "email": "ann@films.example", "email_verified": True, "hd": "films.example"}
_KEYS = [RSAKey.generate_key(2048, {"kid": kid}) for kid in ("first", "second")]


@dataclass
class Faults:
    """How the provider misbehaves."""

    claims: dict[str, object] = field(default_factory=dict)
    """Of ID tokens, in place of the right ones; None omits one."""
    algorithm: str = "RS256"
    kid: str | None = None
    """In the header of ID tokens, in place of the right one."""
    published: list[int] = field(default_factory=lambda: [0])
    """Which keys it publishes."""
    signing: int = 0
    """With which key it signs."""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Status and body by path, in place of the right ones."""
    stalled: str | None = None
    """A path that is never answered."""
    document: dict[str, object] = field(default_factory=dict)
    """Of the discovery document, in place of the right entries."""
    no_issuer: bool = False
    """Whether responses lack `iss`."""


class _Client(ClientMixin):  # type: ignore[misc]  # untyped
    def __init__(self, redirect_uri: str) -> None:
        self._redirect_uri = redirect_uri

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return self._redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self._redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class _Code(AuthorizationCodeMixin):  # type: ignore[misc]  # untyped
    data: dict[str, str]
    user: dict[str, object]

    @property
    def code_challenge(self) -> str:
        return self.data["code_challenge"]

    @property
    def code_challenge_method(self) -> str:
        return self.data["code_challenge_method"]

    def get_redirect_uri(self) -> str:
        return self.data["redirect_uri"]

    def get_scope(self) -> str:
        return self.data["scope"]

    def get_nonce(self) -> str:
        return self.data["nonce"]

    def get_auth_time(self) -> None:
        return None

    get_acr = get_amr = get_auth_time


class _Request(OAuth2Request):  # type: ignore[misc]  # untyped
    def __init__(self, method: str, uri: str, headers: Any, form: dict[str, str]) -> None:
        super().__init__(method, uri, headers=headers)
        self._args = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(uri).query))
        self._form = form
        self.payload = BasicOAuth2Payload(self._args | form)

    @property
    def args(self) -> dict[str, str]:
        return self._args

    @property
    def form(self) -> dict[str, str]:
        return self._form


@dataclass
class _Answer:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def location(self) -> str | None:
        return self.headers.get("Location")

    @location.setter
    def location(self, url: str) -> None:
        self.headers["Location"] = url


class _Grant(AuthorizationCodeGrant):  # type: ignore[misc]  # untyped
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def save_authorization_code(self, code: str, request: _Request) -> None:
        self.server.nonces.add(request.payload.data["nonce"])
        self.server.codes[code] = _Code(request.payload.data, request.user)

    def query_authorization_code(self, code: str, _client: _Client) -> _Code | None:
        found: _Code | None = self.server.codes.get(code)
        if found is not None:
            found.data["code"] = code
        return found

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        del self.server.codes[authorization_code.data["code"]]

    def authenticate_user(self, authorization_code: _Code) -> dict[str, object]:
        return authorization_code.user


class _OpenID(OpenIDCode):  # type: ignore[misc]  # untyped
    def __init__(self, provider: "Provider") -> None:
        super().__init__(require_nonce=True)
        self._provider = provider

    def exists_nonce(self, nonce: str, _request: _Request) -> bool:
        return nonce in self._provider.nonces

    def resolve_client_private_key(self, _client: _Client) -> object:
        key = _KEYS[self._provider.faults.signing]
        if self._provider.faults.algorithm == "HS256":
            # What anybody can make: the published key, taken for a shared secret.
            return OctKey.import_key({"kty": "oct", "k": key.as_dict(private=False)["n"]})
        return key

    def get_client_algorithm(self, _client: _Client) -> str:
        return self._provider.faults.algorithm

    def get_encode_header(self, client: _Client) -> dict[str, str]:
        faults = self._provider.faults
        kid = faults.kid or str(_KEYS[faults.signing].kid)
        return {"alg": self.get_client_algorithm(client), "kid": kid}

    def get_client_claims(self, _client: _Client) -> dict[str, object]:
        return {"iss": self._provider.url, "aud": CLIENT_ID}

    def generate_user_info(self, user: dict[str, object], _scope: str) -> UserInfo:
        return UserInfo(user)

    def encode_id_token(self, token: dict[str, object], request: _Request) -> object:
        from joserfc import jwt

        faults = self._provider.faults
        if not faults.claims and faults.algorithm == "RS256":
            return super().encode_id_token(token, request)
        claims: dict[str, object] = {
            **self.get_compatible_claims(request),
            **self.get_authorization_code_claims(request.authorization_code),
            **request.user,
            **faults.claims,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        key: Any = self.resolve_client_private_key(request.client)
        header = self.get_encode_header(request.client)
        return jwt.encode(header, kept, key, [faults.algorithm])


class Provider(AuthorizationServer):  # type: ignore[misc]  # untyped
    """The provider, and what it has been asked."""

    def __init__(self, url: str) -> None:
        """Know one client, whose redirect URI is set later."""
        super().__init__(scopes_supported=["openid", "email"])
        self.url = url
        self.redirect_uri = ""
        self.faults = Faults()
        self.codes: dict[str, _Code] = {}
        self.nonces: set[str] = set()
        self.asked: list[str] = []
        self.stopping = threading.Event()
        self.register_token_generator(
            "default", BearerTokenGenerator(lambda *_args, **_kwargs: f"token-{len(self.asked)}")
        )
        self.register_grant(_Grant, [_OpenID(self), CodeChallenge(required=True)])
        issuer = IssuerParameter()
        issuer.get_issuer = lambda: None if self.faults.no_issuer else self.url
        self.register_extension(issuer)

    def query_client(self, client_id: str) -> _Client | None:
        """Return the client."""
        return _Client(self.redirect_uri) if client_id == CLIENT_ID else None

    def save_token(self, _token: object, _request: object) -> None:
        """Do nothing: nobody comes back with an access token."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Do nothing."""

    def create_oauth2_request(self, request: _Request) -> _Request:
        """Return the request, which is what Authlib wants already."""
        return request

    def handle_response(self, status: int, body: object, headers: Any) -> _Answer:
        """Return a response."""
        return _Answer(status, body, dict(headers))

    def answer(self, method: str, target: str, headers: Any, form: dict[str, str]) -> _Answer:
        """Answer a request."""
        path = urllib.parse.urlsplit(target).path
        self.asked.append(f"{method} {path}")
        if path == self.faults.stalled:
            self.stopping.wait()
        if path in self.faults.answers:
            status, body = self.faults.answers[path]
            return _Answer(status, body, {"Content-Type": "text/html"})
        if path == "/.well-known/openid-configuration":
            return _Answer(200, self._configuration() | self.faults.document, {})
        if path == "/keys":
            keys = [_KEYS[number].as_dict(private=False) for number in self.faults.published]
            return _Answer(200, {"keys": [{"kty": "new"}, *keys]}, {})
        if path == "/token":
            return self._as_answer(self.create_token_response, method, target, headers, form)
        if path == "/authorize":
            return self._authorize(method, target, headers, form)
        return _Answer(404, b"", {})

    def _authorize(self, method: str, target: str, headers: Any, form: dict[str, str]) -> _Answer:
        request = _Request("GET", self.url + target, headers, {})
        try:
            grant = self.get_consent_grant(request, end_user=None)
        except OAuth2Error as error:
            return _Answer(400, str(error).encode(), {})
        if method == "GET":
            page = '<!doctype html><title>Accounts</title><form method="post">'
            page += '<button name="user" value="{}">Go on as ann@films.example</button></form>'
            return _Answer(200, page.format("ann").encode(), {"Content-Type": "text/html"})
        user = None if form["user"] == "nobody" else ANN | json.loads(form.get("claims", "{}"))
        found: _Answer = self.create_authorization_response(request, grant_user=user, grant=grant)
        return found

    def _as_answer(
        self, function: Any, method: str, target: str, headers: Any, form: dict[str, str]
    ) -> _Answer:
        found: _Answer = function(_Request(method, self.url + target, headers, form))
        return found

    def _configuration(self) -> dict[str, object]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": True,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    provider: Provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("content-length", 0))
        form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
        found = self.server.provider.answer(self.command, self.path, dict(self.headers), form)
        body = found.body
        if not isinstance(body, bytes):
            body = json.dumps(body).encode() if isinstance(body, dict) else str(body).encode()
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def provider(certificate: Path | None = None) -> Iterator[Provider]:
    """Run the provider as `localhost`, which is another site than 127.0.0.1.

    With the file of a `certificate` and its key, it speaks TLS.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        found = server.provider = Provider(f"{scheme}://localhost:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        found.stopping.set()
        server.shutdown()


def write_certificate(path: Path) -> None:
    """Write a self-signed certificate of `localhost` and its key to a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(certificate.public_bytes(encoding) + secret)


def web_client(trusted: Path | None = None) -> httpx2.Client:
    """Return a browser's part in HTTP: it follows no redirects by itself."""
    if trusted is None:
        return web.Client(follow_redirects=False)
    return httpx2.Client(verify=ssl.create_default_context(cafile=trusted), trust_env=False)
