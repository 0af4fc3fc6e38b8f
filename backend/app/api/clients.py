"""Who is asking: the API key, or else the address that `--forwarded-allow-ips` leads to."""

import hashlib
from collections import Counter
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_response
from app.connection import LANE, client_name
from app.errors import TooManyRequestsError

HEALTH_PATHS = ("/health", "/health/live", "/health/ready")
RETRY_AFTER_S = 1
_DIGITS = 15

_client: ContextVar[str] = ContextVar("client", default="")


def current() -> str:
    """Return the name of the client whose request is being handled: at most 16 characters.

    That of a key is its prefix. Addresses are stored with analyses and uploads, therefore hashed.
    """
    return _client.get()


def identify(name: str) -> None:
    """Record that the request has this API key (its prefix)."""
    _client.set(name)


class Shares:
    """Refuse requests of connections beyond the limits, and of clients with too many requests.

    Behind a proxy, whose connections are those of many clients, requests are what can be counted.
    """

    def __init__(self, app: ASGIApp, *, per_client: int) -> None:
        """Wrap `app`; `per_client` is how many requests of a client are handled at a time."""
        self._app = app
        self._per_client = per_client
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; pass other connection types through."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        name = client_name(scope["client"][0] if scope.get("client") else None)
        reason = scope.get("state", {}).get(LANE)
        if reason is not None:
            response = problem_response(
                503, title="Too many connections", kind="too-many-connections", detail=reason
            )
        elif self._running[name] >= self._per_client:
            response = problem_response(
                TooManyRequestsError.status,
                title=TooManyRequestsError.title,
                kind="too-many-requests",
                detail=f"{self._per_client} requests of {name} are being handled already.",
            )
        else:
            await self._counted(name, scope, receive, send)
            return
        response.headers["retry-after"] = str(RETRY_AFTER_S)
        await response(scope, receive, send)

    async def _counted(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        token = _client.set("@" + hashlib.sha256(name.encode()).hexdigest()[:_DIGITS])
        self._running[name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[name] -= 1
            if not self._running[name]:
                del self._running[name]
            _client.reset(token)
