"""The Authorization header for one repository of one registry.

Basic (RFC 7617), and bearer tokens (RFC 6750) fetched as Docker's token protocol says
(distribution, docs/spec/auth/token.md and oauth.md). No secret enters a message.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from dataclasses import dataclass

from tools.oci.answers import RegistryError, refusal
from tools.oci.credentials import Credentials
from tools.oci.transport import Response, Transport, without_query

_PARAMETER = r'[A-Za-z_]+\s*=\s*(?:"[^"]*"|[^\s",]+)'
_CHALLENGE = re.compile(
    rf"(?<![^,\s])(Basic|Bearer)\s+((?:{_PARAMETER}\s*,?\s*)*)", flags=re.IGNORECASE
)
_VALUE = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s",]+))')


@dataclass(frozen=True)
class Challenge:
    """How a registry asks to be authorised."""

    scheme: str
    realm: str = ""
    service: str = ""


def parse_challenge(header: str | None) -> Challenge | None:
    """The challenge of a WWW-Authenticate header that is answered: Bearer before Basic."""
    found = []
    for scheme, parameters in _CHALLENGE.findall(header or ""):
        values = {key.lower(): quoted or bare for key, quoted, bare in _VALUE.findall(parameters)}
        found.append(Challenge(scheme.lower(), values.get("realm", ""), values.get("service", "")))
    return min(found, key=lambda each: each.scheme != "bearer", default=None)


class Authorization:
    """Holds the header and renews it. Safe to share between threads.

    `secrets` is given every string that must never be shown, as it becomes known.
    """

    def __init__(
        self,
        transport: Transport,
        challenge: Challenge,
        *,
        credentials: Credentials | None,
        scopes: tuple[str, ...],
        plain: bool,
        secrets: list[str],
    ) -> None:
        """`plain` says that the registry itself is spoken to in plain HTTP."""
        self._transport = transport
        self._challenge = challenge
        self._credentials = credentials
        self._scopes = scopes
        self._plain = plain
        self._secrets = secrets
        self._lock = threading.Lock()
        self._header: str | None = None

    @property
    def header(self) -> str | None:
        """The value to send, or None when there is nothing to send."""
        return self._header

    def renew(self, spent: str | None) -> None:
        """Replace the header `spent`; raises RegistryError, TransportError."""
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
        realm = urllib.parse.urlsplit(self._challenge.realm)
        shown = without_query(self._challenge.realm)
        if realm.scheme != "https" and not (realm.scheme == "http" and self._plain):
            raise RegistryError(
                f"the registry wants tokens fetched from '{shown}', which is not HTTPS; "
                "credentials are not sent there"
            )
        refresh = self._credentials is not None and bool(self._credentials.identity_token)
        response = self._post_refresh() if refresh else self._get_token(realm)
        if response.status != 200:
            raise refusal(f"token from {shown}", response, credentials=self._credentials)
        try:
            answer = json.loads(response.body)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token:
            raise RegistryError(f"{shown}: answered without a token")
        return token

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
