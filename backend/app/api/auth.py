"""Authentication for `/api/v1`: open to everybody, or, with REQUIRE_API_KEY=true, API keys.

Clients send the key as `Authorization: Bearer …` or `X-API-Key: …`. The page does so too, but
browsers cannot add headers when they load images, videos or event streams. For these the page
exchanges the key for a session cookie. The cookie is read-only (another site can make a browser
send it, but cannot read the response), not accessible to scripts, and ends with the key.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from app.api import clients
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.errors import UnauthorizedError
from app.models import ApiKey
from app.models.base import utc_now
from app.services import keys

COOKIE = "session"
_SAFE_METHODS = ("GET", "HEAD")

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="An API key.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="cookie", description="Read-only."
)


async def require_key(
    request: Request,
    context: ContextDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> None:
    """Raise UnauthorizedError unless the request is authenticated or no key is required."""
    if not context.settings.require_api_key:
        return
    text = bearer.credentials if bearer is not None else header
    if text is not None:
        key = await run_in_threadpool(_find_key, context, text)
    elif cookie is not None and request.method in _SAFE_METHODS:
        key = await run_in_threadpool(_find_session_key, context, cookie)
    else:
        raise UnauthorizedError("Send a key as `Authorization: Bearer …` or `X-API-Key: …`.")
    if key is None:
        raise UnauthorizedError("The API key is unknown or revoked, or the session has expired.")
    clients.identify(key.prefix)


def _find_key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return keys.authenticate(session, text=text)


def _find_session_key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return keys.authenticate_session(session, text=text, now=utc_now())


PROTECTED = [Depends(require_key)]

router = APIRouter(prefix="/api/v1/session", tags=["auth"])


@router.post("", status_code=204, dependencies=PROTECTED, responses=documented(401, 503))
def start_session(
    request: Request,
    context: ContextDep,
    response: Response,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> None:
    """Exchange a key for a cookie with which a browser can load images, videos and event streams.

    No effect if no key is required.
    """
    text = bearer.credentials if bearer is not None else header
    key = None if text is None else _find_key(context, text)
    if key is None:
        return
    response.set_cookie(
        COOKIE,
        keys.start_session(key, now=utc_now()),
        max_age=int(keys.SESSION_LIFETIME.total_seconds()),
        path="/api/v1",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


@router.delete("", status_code=204)
def end_session(response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(COOKIE, path="/api/v1", httponly=True, samesite="strict")
