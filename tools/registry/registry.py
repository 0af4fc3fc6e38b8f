"""A client of one repository in a registry (OCI distribution-spec 1.1)."""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.image import spec
from tools.registry.authorization import Authorization, parse_challenge
from tools.registry.credentials import Credentials
from tools.registry.errors import RegistryError, printable, refusal
from tools.registry.http_proxy import is_loopback
from tools.registry.reference import Repository
from tools.registry.transport import (
    FileSlice,
    NotTLSError,
    Receiver,
    Response,
    Transport,
    TransportError,
    split_url,
    without_query,
)

_REDIRECTS = 5
_PAGES = 1000  # of referrers: a list that goes round in circles has no end
# Redirects that are followed; a client may turn a write into a read at the others (RFC 9110, 15.4).
_READ_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WRITE_REDIRECTS = frozenset({307, 308})
# RFC 8288, as distribution-spec 1.1 uses it for pages.
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_MANIFESTS = ", ".join(sorted(spec.INDEX_TYPES | spec.MANIFEST_TYPES))


@dataclass(frozen=True)
class Opened:
    """An upload: its URL, and the least bytes of any piece but the last."""

    url: str
    least: int


class Registry:
    """One repository of one registry. Safe to share between threads after `connect`.

    `secrets` collects every string that must never be shown.
    """

    def __init__(
        self,
        transport: Transport,
        repository: Repository,
        *,
        credentials: Credentials | None,
        secrets: list[str],
    ) -> None:
        self.repository = repository
        self.transport = transport
        self._credentials = credentials
        self._base = ""
        self._authorization: Authorization | None = None
        self._lock = threading.Lock()
        self._scopes: tuple[str, ...] = ()
        self._secrets = secrets
        secrets.extend(credentials.secrets() if credentials else ())

    def connect(self, *, actions: str = "pull,push", mount_from: tuple[str, ...] = ()) -> None:
        """Connect to the registry and get authorized.

        HTTPS is used; a registry on this machine, or any with `insecure` set, may use plain HTTP
        instead. Raise RegistryError or TransportError.
        """
        self._scopes = (
            f"repository:{self.repository.name}:{actions}",
            *(f"repository:{name}:pull" for name in mount_from),
        )
        server = self.repository.server
        response = self._first_response(server)
        if response.status == 401:
            self._authorize(response, None)
            response = self.call_url("GET", f"{self._base}/v2/")
        # Some registries respond 403 or 404 here and still serve repositories; 401 is final.
        if response.status in (401, 407) or response.status >= 500:
            raise self.refused(f"{server}: GET /v2/", response)

    def has_blob(self, digest: str, *, source: str | None = None) -> bool:
        """Return whether the repository, or another of the registry, `source`, has the blob."""
        response = self.read("HEAD", f"blobs/{digest}", name=source)
        if source is not None and response.status in (401, 403):
            return False
        if response.status not in (200, 404):
            raise self.refused(f"HEAD blob {digest}", response)
        return response.status == 200

    def read(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        receive: Receiver | None = None,
        retry: bool = True,
    ) -> Response:
        """Send a request for something in the repository.

        `name` is another repository of the registry.
        """
        url = f"{self._base}/v2/{name or self.repository.name}/{path}"
        return self.call_url(method, url, headers=headers, receive=receive, retry=retry)

    def mount_blob(self, digest: str, *, source: str) -> bool:
        """Mount the blob from another repository of the registry; return False if it cannot be."""
        query = urllib.parse.urlencode({"mount": digest, "from": source})
        url = self._url(f"blobs/uploads/?{query}")
        response = self.call_url("POST", url)
        if response.status == 202:
            # The registry opened an upload instead; leaving it open would hold resources.
            self._cancel_upload(self.location(response))
        return response.status == 201

    def open_upload(self, digest: str) -> Opened:
        """Begin the upload of a blob."""
        url = self._url("blobs/uploads/")
        response = self.call_url("POST", url)
        if response.status != 202:
            raise self.refused(f"POST upload of blob {digest}", response)
        least = (response.headers.get("OCI-Chunk-Min-Length") or "").strip()
        return Opened(
            url=self.location(response),
            least=int(least) if least.isascii() and least.isdigit() else 0,
        )

    def manifest_digest(self, reference: str) -> str | None:
        """Return the digest that a tag points to, None when there is no such tag."""
        response = self.call_url(
            "HEAD", self._url(f"manifests/{reference}"), headers={"Accept": _MANIFESTS}
        )
        if response.status == 404:
            return None
        if response.status != 200:
            raise self.refused(f"HEAD manifest {reference}", response)
        return response.headers.get("Docker-Content-Digest")

    def put_manifest(
        self,
        data: bytes,
        *,
        media_type: str,
        reference: str,
        digest: str,
        replacing: str | None = None,
    ) -> str | None:
        """Store a manifest under a digest or a tag.

        Return the subject that the registry processed (OCI-Subject), None when it has no referrers
        API. `replacing` is the ETag that the tag must still have. Raise RegistryError on refusal.
        """
        headers = {"Content-Type": media_type}
        if replacing is not None:
            headers["If-Match"] = replacing
        response = self.call_url(
            "PUT", self._url(f"manifests/{reference}"), headers=headers, body=data
        )
        if response.status not in (200, 201, 202):
            raise self.refused(f"PUT manifest {reference}", response)
        self.check_digest(response, digest)
        return response.headers.get("OCI-Subject")

    def get_manifest(self, reference: str) -> Response | None:
        """Return the response with a manifest, None when there is none."""
        response = self.call_url(
            "GET", self._url(f"manifests/{reference}"), headers={"Accept": _MANIFESTS}
        )
        if response.status == 404:
            return None
        if response.status != 200:
            raise self.refused(f"GET manifest {reference}", response)
        self.check_digest(response, spec.sha256_digest(response.body))
        return response

    def get_referrers(self, digest: str) -> list[Response] | None:
        """Return the pages of a manifest's referrers; None without the referrers API."""
        url = self._url(f"referrers/{digest}")
        pages: list[Response] = []
        while url:
            response = self.call_url("GET", url, headers={"Accept": spec.OCI_INDEX})
            if response.status == 404 and not pages:
                return None
            if response.status != 200:
                raise self.refused(f"GET referrers {digest}", response)
            pages.append(response)
            following = _NEXT.search(response.headers.get("Link") or "")
            url = self._target(response, following[1]) if following else ""
            if len(pages) > _PAGES:
                raise RegistryError(f"{digest}: the list of referrers has more than {_PAGES} pages")
        return pages

    def call_url(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileSlice = b"",
        sent: Callable[[int], None] = lambda _: None,
        receive: Receiver | None = None,
        retry: bool = True,
    ) -> Response:
        """Send an authorized request and follow redirects, of writes those that keep the method.

        An expired authorization is renewed once. Credentials go to the registry only, never to
        another host that it redirects to. A registry with public read access asks for them only
        when something is written. `sent` is called with the number of bytes sent, and with its
        negative when they are sent again.
        """
        counted = 0

        def count(amount: int) -> None:
            nonlocal counted
            counted += amount
            sent(amount)

        def send(value: str | None) -> Response:
            count(-counted)
            all_headers = dict(headers or {}) | ({"Authorization": value} if value else {})
            return self.transport.request(
                method,
                url,
                headers=all_headers,
                body=body,
                sent=count,
                receive=receive,
                retry=retry,
            )

        followed = _READ_REDIRECTS if method in ("GET", "HEAD") else _WRITE_REDIRECTS
        for _ in range(1 + _REDIRECTS):
            own = urllib.parse.urlsplit(url)[:2] == urllib.parse.urlsplit(self._base)[:2]
            used = self._authorization.header if own and self._authorization else None
            response = send(used)
            if response.status == 401 and own and self._authorize(response, used):
                response = send(self._authorization.header if self._authorization else None)
            if response.status not in followed:
                break
            url = self.location(response)
        return response

    def location(self, response: Response) -> str:
        """Return the Location of a response; refuse one that leaves TLS for plain HTTP."""
        target = response.headers.get("Location")
        if not target:
            raise RegistryError(
                f"{without_query(response.url)}: the registry's response has no Location"
            )
        return self._target(response, target)

    def _target(self, response: Response, target: str) -> str:
        """Return the URL that a response leads to; see `location`."""
        url = response.url
        try:
            joined = urllib.parse.urljoin(url, target)
            scheme = split_url(joined).scheme
        except ValueError as error:
            raise RegistryError(
                f"{without_query(url)}: Location '{printable(target)}' is not a URL: {error}"
            ) from error
        if scheme not in ("http", "https"):
            raise RegistryError(f"{without_query(url)}: Location has scheme '{scheme}'")
        if url.startswith("https:") and scheme == "http" and not self.transport.options.insecure:
            raise RegistryError(
                f"{without_query(url)}: the registry redirects from HTTPS to plain HTTP "
                f"({without_query(joined)}); its public URL is probably misconfigured"
            )
        return joined

    def refused(self, what: str, response: Response) -> RegistryError:
        """Return the error for an unexpected response."""
        return refusal(what, response, credentials=self._credentials)

    def check_digest(self, response: Response, digest: str) -> None:
        """Raise RegistryError when the registry stored something other than was sent."""
        stored = response.headers.get("Docker-Content-Digest")
        if stored is not None and stored != digest:
            raise RegistryError(f"the registry stored {stored} where {digest} was sent")

    def _authorize(self, response: Response, spent: str | None) -> bool:
        """Handle a 401 to a request that was sent with the header `spent`.

        Return False when there is nothing else to try. Raise RegistryError or TransportError.
        """
        with self._lock:
            if self._authorization is None:
                offered = ", ".join(response.headers.get_all("WWW-Authenticate", []))
                challenge = parse_challenge(offered)
                if challenge is None:
                    raise RegistryError(
                        f"{self.repository.server}: asks for an authorization that this client "
                        f"does not support: '{printable(offered)}'"
                    )
                base = urllib.parse.urlsplit(self._base)
                self._authorization = Authorization(
                    self.transport,
                    challenge,
                    credentials=self._credentials,
                    scopes=self._scopes,
                    plain_host=base.hostname if base.scheme == "http" else None,
                    secrets=self._secrets,
                )
        self._authorization.renew(spent)
        return self._authorization.header not in (None, spent)

    def _first_response(self, server: str) -> Response:
        """Return the response to an unauthorized request; decide between TLS and plain HTTP."""
        self._base = f"https://{server}"
        host = urllib.parse.urlsplit(self._base).hostname or ""
        insecure = self.transport.options.insecure
        try:
            return self.transport.request(
                "GET", f"{self._base}/v2/", headers={}, retry=not insecure
            )
        except TransportError as error:
            speaks_plain = isinstance(error, NotTLSError) or (insecure and error.retriable)
            if not speaks_plain or not (insecure or is_loopback(host)):
                raise
        self._base = f"http://{server}"
        return self.transport.request("GET", f"{self._base}/v2/", headers={})

    def _url(self, path: str) -> str:
        return f"{self._base}/v2/{self.repository.name}/{path}"

    def _cancel_upload(self, url: str) -> None:
        try:
            self.call_url("DELETE", url, retry=False)
        except (RegistryError, TransportError):
            return  # It expires; the push does not depend on it.
