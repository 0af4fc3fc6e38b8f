"""The Authorization header for one repository of one registry.

Basic (RFC 7617), and bearer tokens (RFC 6750) fetched as Docker's token protocol says
(distribution, docs/spec/auth/token.md and oauth.md). No secret enters a message.
"""

from __future__ import annotations

import re
import threading
import urllib.parse
from dataclasses import dataclass

from tools.cli import parse_json
from tools.registry.credentials import Credentials
from tools.registry.errors import RegistryError, printable, refusal
from tools.registry.http_proxy import is_loopback
from tools.registry.transport import Response, Transport, split_url, without_query

# RFC 9110, 11.6.1: one list of schemes, each followed by its parameters. A parameter differs from a
# scheme by its `=`; values without quotes may have characters that a token may not, as URLs do.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART = re.compile(
    rf"""[\s,]*(?:({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))|({_WORD}))""", re.DOTALL
)


@dataclass(frozen=True)
class Challenge:
    """A registry's demand for authorization."""

    scheme: str
    realm: str = ""
    service: str = ""


def parse_challenge(header: str | None) -> Challenge | None:
    """Return the challenge of a WWW-Authenticate header to use: Bearer before Basic.

    Several headers are joined with commas. None when neither scheme is offered.
    """
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while match := _PART.match(header or "", position):
        name, quoted, bare, scheme = match.groups()
        if scheme is not None:
            found.append((scheme.lower(), {}))
        elif found:
            value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            found[-1][1].setdefault(name.lower(), value)
        position = match.end()
    known = [each for each in found if each[0] in ("basic", "bearer")]
    if not known:
        return None
    scheme, values = min(known, key=lambda each: each[0] != "bearer")
    return Challenge(scheme, values.get("realm", ""), values.get("service", ""))


class Authorization:
    """Hold the header and renew it. Safe to share between threads.

    `secrets` collects every string that must never be shown.
    """

    def __init__(
        self,
        transport: Transport,
        challenge: Challenge,
        *,
        credentials: Credentials | None,
        scopes: tuple[str, ...],
        plain_host: str | None,
        secrets: list[str],
    ) -> None:
        """`plain_host`: the registry's host if it is reached by plain HTTP, else None."""
        self._transport = transport
        self._challenge = challenge
        self._credentials = credentials
        self._scopes = scopes
        self._plain_host = plain_host
        self._secrets = secrets
        self._lock = threading.Lock()
        self._header: str | None = None

    @property
    def header(self) -> str | None:
        """The value to send, or None when there is nothing to send."""
        return self._header

    def renew(self, spent: str | None) -> None:
        """Replace the header `spent`; raise RegistryError or TransportError."""
        with self._lock:
            # Another thread may have renewed it while this one waited.
            if self._header != spent:
                return
            if self._challenge.scheme == "basic":
                self._header = self._credentials.basic() if self._credentials else None
                return
            token = self._fetch_token()
            self._secrets.append(token)
            self._header = f"Bearer {token}"

    def _fetch_token(self) -> str:
        shown = printable(without_query(self._challenge.realm))
        try:
            realm = split_url(self._challenge.realm)
        except ValueError as error:
            raise RegistryError(
                f"the registry's token server '{shown}' is not a URL: {error}"
            ) from error
        if realm.scheme != "https" and not (realm.scheme == "http" and self._may_be_plain(realm)):
            raise RegistryError(
                f"the registry's token server '{shown}' does not use HTTPS; "
                "credentials are not sent there"
            )
        refresh = self._credentials is not None and bool(self._credentials.identity_token)
        response = self._post_refresh() if refresh else self._get_token(realm)
        if response.status != 200:
            raise refusal(f"token from {shown}", response, credentials=self._credentials)
        try:
            document = parse_json(response.body)
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token:
            raise RegistryError(f"{shown}: the response has no token")
        return token

    def _may_be_plain(self, realm: urllib.parse.SplitResult) -> bool:
        """Return whether a token server without TLS is as trustworthy as the registry is."""
        host = realm.hostname or ""
        near = is_loopback(host) or host == self._plain_host
        return self._plain_host is not None and (near or self._transport.options.insecure)

    def _get_token(self, realm: urllib.parse.SplitResult) -> Response:
        query = [("service", self._challenge.service)] if self._challenge.service else []
        query += [("scope", scope) for scope in self._scopes]
        joint = "&" if realm.query else "?"
        url = f"{self._challenge.realm}{joint}{urllib.parse.urlencode(query)}"
        headers = {"Authorization": self._credentials.basic()} if self._credentials else {}
        return self._transport.request("GET", url, headers=headers)

    def _post_refresh(self) -> Response:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._credentials.identity_token if self._credentials else "",
            "service": self._challenge.service,
            "client_id": "oci-push",
            "scope": " ".join(self._scopes),
        }
        return self._transport.request(
            "POST",
            self._challenge.realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urllib.parse.urlencode(form).encode("ascii"),
        )
