"""OpenID Connect: the authorization code flow with PKCE, by Authlib.

The provider's own documents name its addresses; each must be HTTPS, unless the provider itself is
on loopback. An ID token must be signed with a key of the provider (RS256 alone), and its
issuer, audience, times and nonce must be right. Keys are fetched again for an id that is not known,
at most REFETCHES times a minute. No message contains a code, a token or a secret.
"""

import json
import re
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwk import Key, KeySet, RSAKey

from app.errors import IdentityProviderError
from app.services import http_client
from app.services.deadline import Deadline
from app.services.http_client import HttpClientError, Reply
from app.services.sign_in import Attempt

ALGORITHMS = ["RS256"]
SCOPE = "openid email"
# For all requests of one step together.
TIMEOUT_S = 10.0
# Google's documents and tokens have 1 to 3 KB.
MAX_DOCUMENT_BYTES = 64 * 1024
DOCUMENT_LIFETIME_S = 3600.0
REFETCHES, REFETCH_WINDOW_S = 5, 60.0
CLOCK_SKEW_S = 60
LOOPBACK = ("localhost", "127.0.0.1", "::1")
GOOGLE = "https://accounts.google.com"
_MIN_KEY_BITS = 2048
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True)
class _Metadata:
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    """Whether it adds `iss` to its responses (RFC 9207)."""


class Provider:
    """An identity provider, asked for the first time when somebody signs in."""

    def __init__(
        self, *, issuer: str, client_id: str, client_secret: str, redirect_uri: str
    ) -> None:
        """Store what the operator has configured; send nothing."""
        self._issuer = issuer
        self._client_id, self._client_secret = client_id, client_secret
        self._redirect_uri = redirect_uri
        self._lock = threading.Lock()
        self._known: _Metadata | None = None
        self._known_until = 0.0
        self._keys: KeySet | None = None
        self._keys_until = 0.0
        self._refetched: deque[float] = deque(maxlen=REFETCHES)

    def authorization_url(self, attempt: Attempt) -> str:
        """Return where the browser signs in. Raise IdentityProviderError."""
        deadline = Deadline(TIMEOUT_S)
        url, _ = self._client(_Transport(deadline)).create_authorization_url(
            self._metadata(deadline).authorization_endpoint,
            state=attempt.state,
            nonce=attempt.nonce,
            code_verifier=attempt.verifier,
            prompt="select_account",  # else nobody could change to another account
        )
        return str(url)

    def identify(self, *, code: str, issuer: str | None, attempt: Attempt) -> dict[str, object]:
        """Exchange the code of a sign-in for the claims of its ID token.

        `issuer` is what the response says that it is from. Raise IdentityProviderError.
        """
        deadline = Deadline(TIMEOUT_S)
        metadata = self._metadata(deadline)
        if issuer != self._issuer and (issuer is not None or metadata.names_itself):
            raise IdentityProviderError("The response is not from the configured provider.")
        token = self._exchange(metadata, code=code, attempt=attempt, deadline=deadline)
        text = token.get("id_token")
        if not isinstance(text, str):
            raise IdentityProviderError("The provider has sent no ID token.")
        try:
            verified = self._verified(text, metadata, deadline=deadline)
            claims = CodeIDToken(
                verified.claims,
                verified.header,
                options={"iss": {"values": self._issuers()}, "aud": {"value": self._client_id}},
                params={
                    "nonce": attempt.nonce,
                    "client_id": self._client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(leeway=CLOCK_SKEW_S)
        except ExpiredTokenError:
            raise IdentityProviderError("The provider's ID token has expired.") from None
        except ClaimError as error:
            name = _CLAIMS.get(error.claim, "claim")
            raise IdentityProviderError(
                f"The provider's ID token has a wrong or missing {name}."
            ) from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise IdentityProviderError(
                "The provider's ID token is malformed, or not signed by the provider."
            ) from None
        return dict(claims)

    def _issuers(self) -> list[str]:
        # https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
        return [self._issuer, *(["accounts.google.com"] if self._issuer == GOOGLE else [])]

    def _client(self, transport: "_Transport") -> Any:
        return OAuth2Client(
            transport,
            client_id=self._client_id,
            client_secret=self._client_secret,
            token_endpoint_auth_method="client_secret_basic",  # noqa: S106 - a name
            scope=SCOPE,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )

    def _exchange(
        self, metadata: _Metadata, *, code: str, attempt: Attempt, deadline: Deadline
    ) -> Mapping[str, object]:
        client = self._client(_Transport(deadline))
        try:
            token: Mapping[str, object] = client.fetch_token(
                metadata.token_endpoint,
                grant_type="authorization_code",
                code=code,
                redirect_uri=self._redirect_uri,
                code_verifier=attempt.verifier,
            )
        except OAuth2Error as error:
            known = isinstance(error.error, str) and _ERROR_CODE.fullmatch(error.error)
            raise IdentityProviderError(
                f"The provider refuses the code ({error.error if known else 'no reason'}). It "
                "may have been used already, or be too old; start again from the page."
            ) from None
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise IdentityProviderError("The provider's token response is malformed.") from None
        return token

    def _verified(self, text: str, metadata: _Metadata, *, deadline: Deadline) -> jwt.Token:
        wanted = _key_id(text)
        keys = self._key_set(metadata, wanted=wanted, deadline=deadline)
        return jwt.decode(text, keys, algorithms=ALGORITHMS)

    def _key_set(self, metadata: _Metadata, *, wanted: str | None, deadline: Deadline) -> KeySet:
        """Return the provider's keys, fetched again if there is none with the id `wanted`."""
        with self._lock:
            now = time.monotonic()
            keys = self._keys if now < self._keys_until else None
            if keys is not None and wanted and wanted not in {key.kid for key in keys.keys}:
                full = len(self._refetched) == REFETCHES
                if not full or now - self._refetched[0] > REFETCH_WINDOW_S:
                    self._refetched.append(now)
                    keys = None
            if keys is None:
                document = _fetch(metadata.jwks_uri, deadline=deadline)
                keys = self._keys = _usable_keys(document)
                self._keys_until = now + DOCUMENT_LIFETIME_S
            return keys

    def _metadata(self, deadline: Deadline) -> _Metadata:
        """Return what the discovery document says (OpenID Connect Discovery 1.0 §4)."""
        with self._lock:
            now = time.monotonic()
            if self._known is None or now >= self._known_until:
                url = get_well_known_url(self._issuer, external=True)
                self._known = self._checked(_fetch(url, deadline=deadline))
                self._known_until = now + DOCUMENT_LIFETIME_S
            return self._known

    def _checked(self, document: Mapping[str, object]) -> _Metadata:
        if document.get("issuer") != self._issuer:
            raise IdentityProviderError("The provider's configuration names another issuer.")
        found: dict[str, str] = {}
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            value = document.get(name)
            if not isinstance(value, str) or not is_trustworthy(value, as_much_as=self._issuer):
                raise IdentityProviderError(
                    f"The provider's configuration has no usable {name.replace('_', ' ')}."
                )
            found[name] = value
        names_itself = document.get("authorization_response_iss_parameter_supported") is True
        return _Metadata(**found, names_itself=names_itself)


_CLAIMS = {"iss": "issuer", "aud": "audience", "azp": "audience", "nonce": "nonce",
           "exp": "time", "iat": "time", "nbf": "time", "at_hash": "access token"}  # fmt: skip


def is_trustworthy(url: str, *, as_much_as: str = "http://localhost") -> bool:
    """Return whether `url` is HTTPS, or HTTP on loopback if `as_much_as` is HTTP, too."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment or not url.isascii():
        return False
    if not url.isprintable() or " " in url:
        return False
    plain = parts.scheme == "http" and host in LOOPBACK and as_much_as.startswith("http://")
    return parts.scheme == "https" or plain


def _key_id(text: str) -> str | None:
    """Return the key id in a token's header, which is not verified yet."""
    value = jws.extract_compact(text.encode()).headers().get("kid")
    return value if isinstance(value, str) else None


def _usable_keys(document: Mapping[str, object]) -> KeySet:
    found = document.get("keys")
    keys: list[Key] = []
    for each in found if isinstance(found, list) else []:
        if not isinstance(each, dict) or each.get("kty") != "RSA" or each.get("use") == "enc":
            continue  # of other algorithms, or not for signatures
        try:
            key = RSAKey.import_key({name: each[name] for name in ("kty", "kid", "n", "e")})
            if key.raw_value.key_size >= _MIN_KEY_BITS:
                keys.append(key)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not keys:
        raise IdentityProviderError("The provider has published no usable signing key.")
    return KeySet(keys)


def _fetch(url: str, *, deadline: Deadline) -> dict[str, object]:
    reply = _send("GET", url, deadline=deadline, headers={"Accept": "application/json"})
    if reply.status != 200:
        raise IdentityProviderError(f"The provider responded with status {reply.status}.")
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise IdentityProviderError("The provider's response is not a JSON object.")
    return document


def _send(
    method: str,
    url: str,
    *,
    deadline: Deadline,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Reply:
    try:
        return http_client.request(
            method, url, deadline=deadline, limit=MAX_DOCUMENT_BYTES, headers=headers, body=body
        )
    except HttpClientError as error:
        raise IdentityProviderError(f"The identity provider is unavailable: {error}.") from None


class _Transport:
    """What Authlib's client sends its requests with."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def post(
        self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: ClientAuth
    ) -> "_Response":
        text = urllib.parse.urlencode(data)
        url, signed, text = auth.prepare("POST", url, dict(headers), text)
        reply = _send("POST", url, deadline=self._deadline, headers=signed, body=text.encode())
        return _Response(reply)


class _Response:
    """A response as Authlib's client reads it."""

    def __init__(self, reply: Reply) -> None:
        self.status_code = reply.status
        self._body = reply.body

    def json(self) -> object:
        return json.loads(self._body)

    def raise_for_status(self) -> None:
        if self.status_code < 400:
            return
        raise IdentityProviderError(f"The provider responded with status {self.status_code}.")
