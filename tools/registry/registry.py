"""A client of one repository in a registry: OCI distribution-spec 1.1, what pushing needs of it."""

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
    without_query,
)

_REDIRECTS = 5
# RFC 8288, as distribution-spec 1.1 uses it for pages.
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_MANIFESTS = ", ".join(sorted(spec.INDEX_TYPES | spec.MANIFEST_TYPES))


@dataclass(frozen=True)
class Opened:
    """An upload: its address, and the least bytes of a piece that is not the last."""

    url: str
    least: int


class Registry:
    """One repository of one registry. Safe to share between threads once `connect` has returned.

    `secrets` is given every string that must never be shown, as it becomes known.
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
        """Find out how to reach the registry and be authorised.

        HTTPS is used, except that a registry on this machine, or any with `insecure` set, is spoken
        to in plain HTTP when it does not speak TLS. Raises RegistryError, TransportError.
        """
        self._scopes = (
            f"repository:{self.repository.name}:{actions}",
            *(f"repository:{name}:pull" for name in mount_from),
        )
        server = self.repository.server
        response = self._first_answer(server)
        if response.status == 401:
            self._authorize(response, None)
            response = self.call_url("GET", f"{self._base}/v2/")
        # Some registries answer 403 or 404 here and serve repositories all the same; not so 401.
        if response.status in (401, 407) or response.status >= 500:
            raise self.refused(f"{server}: GET /v2/", response)

    def has_blob(self, digest: str, *, source: str | None = None) -> bool:
        """Whether the repository has the blob, or another one of the registry, `source`."""
        response = self.follow("HEAD", f"blobs/{digest}", name=source)
        if source is not None and response.status in (401, 403):
            return False
        if response.status not in (200, 404):
            raise self.refused(f"HEAD blob {digest}", response)
        return response.status == 200

    def follow(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        receive: Receiver | None = None,
        retry: bool = True,
    ) -> Response:
        """Ask for something below the repository, also where the registry keeps it elsewhere.

        `name` is another repository of the registry.
        """
        url = f"{self._base}/v2/{name or self.repository.name}/{path}"
        for _ in range(1 + _REDIRECTS):
            response = self.call_url(method, url, headers=headers, receive=receive, retry=retry)
            if response.status not in (301, 302, 303, 307, 308):
                break
            url = self.location(response, url)
        return response

    def mount_blob(self, digest: str, *, source: str) -> bool:
        """Take the blob over from another repository of the registry; False if it cannot be."""
        query = urllib.parse.urlencode({"mount": digest, "from": source})
        url = self._url(f"blobs/uploads/?{query}")
        response = self.call_url("POST", url)
        if response.status == 202:
            # The registry opened an upload instead; leaving it open would hold its resources.
            self._cancel_upload(self.location(response, url))
        return response.status == 201

    def open_upload(self, digest: str) -> Opened:
        """Begin the upload of a blob."""
        url = self._url("blobs/uploads/")
        response = self.call_url("POST", url)
        if response.status != 202:
            raise self.refused(f"POST upload of blob {digest}", response)
        least = (response.headers.get("OCI-Chunk-Min-Length") or "").strip()
        return Opened(
            url=self.location(response, url),
            least=int(least) if least.isascii() and least.isdigit() else 0,
        )

    def manifest_digest(self, reference: str) -> str | None:
        """The digest that a tag names, None when there is no such tag."""
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

        Gives the subject that the registry took note of (OCI-Subject), None when it keeps no list
        of referrers. `replacing` is the ETag of what the tag must still name. Raises RegistryError
        when it is refused.
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
        """The answer that holds a manifest, None when there is none."""
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
        """The pages of the list of what refers to a manifest; None when the registry keeps none."""
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
            url = urllib.parse.urljoin(url, following[1]) if following else ""
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
        """Send an authorised request; an authorisation that has run out is renewed once.

        It goes to the registry itself only, never to a storage that the registry refers to. A
        registry that is open to readers asks for it as late as when something is written.
        """
        own = urllib.parse.urlsplit(url)[:2] == urllib.parse.urlsplit(self._base)[:2]
        counted = 0

        def count(amount: int) -> None:
            nonlocal counted
            counted += amount
            sent(amount)

        def send() -> tuple[Response, str | None]:
            all_headers = dict(headers or {})
            value = self._authorization.header if own and self._authorization else None
            if value:
                all_headers["Authorization"] = value
            response = self.transport.request(
                method,
                url,
                headers=all_headers,
                body=body,
                sent=count,
                receive=receive,
                retry=retry,
            )
            return response, value

        response, used = send()
        if response.status == 401 and own and self._authorize(response, used):
            sent(-counted)
            counted = 0
            response, _ = send()
        return response

    def location(self, response: Response, url: str) -> str:
        """The address an answer refers to; a step down from TLS to plain HTTP is refused."""
        target = response.headers.get("Location")
        if not target:
            raise RegistryError(f"{without_query(url)}: the registry's answer has no Location")
        joined = urllib.parse.urljoin(url, target)
        scheme = urllib.parse.urlsplit(joined).scheme
        if scheme not in ("http", "https"):
            raise RegistryError(f"{without_query(url)}: Location has scheme '{scheme}'")
        if url.startswith("https:") and scheme == "http" and not self.transport.options.insecure:
            raise RegistryError(
                f"{without_query(url)}: the registry refers from HTTPS to plain HTTP "
                f"({without_query(joined)}); its public address is probably misconfigured"
            )
        return joined

    def refused(self, what: str, response: Response) -> RegistryError:
        """The error for an answer that is not the wanted one."""
        return refusal(what, response, credentials=self._credentials)

    def check_digest(self, response: Response, digest: str) -> None:
        """Raise RegistryError when the registry stored something else than what was sent."""
        stored = response.headers.get("Docker-Content-Digest")
        if stored is not None and stored != digest:
            raise RegistryError(f"the registry stored {stored} where {digest} was sent")

    def _authorize(self, response: Response, spent: str | None) -> bool:
        """Answer a 401 to a request that was sent with the header `spent`.

        False when there is nothing more to say. Raises RegistryError, TransportError.
        """
        with self._lock:
            if self._authorization is None:
                offered = ", ".join(response.headers.get_all("WWW-Authenticate", []))
                challenge = parse_challenge(offered)
                if challenge is None:
                    raise RegistryError(
                        f"{self.repository.server}: asks for an authorisation this client cannot "
                        f"give: '{printable(offered)}'"
                    )
                self._authorization = Authorization(
                    self.transport,
                    challenge,
                    credentials=self._credentials,
                    scopes=self._scopes,
                    plain=self._base.startswith("http:"),
                    secrets=self._secrets,
                )
        self._authorization.renew(spent)
        return self._authorization.header not in (None, spent)

    def _first_answer(self, server: str) -> Response:
        """The answer to an unauthorised request; settles whether TLS is spoken."""
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
            return  # It runs out by itself; the push does not depend on it.
