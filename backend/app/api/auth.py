"""Authentication for `/api/v1`: open to everybody, or, with REQUIRE_API_KEY=true, API keys.

Clients send the key as `Authorization: Bearer …` or `X-API-Key: …`. The page does so too, but
browsers cannot add headers when they load images, videos or event streams. For these the page
exchanges the key for a session cookie. The cookie is read-only (another site can make a browser
send it, but cannot read the response), not accessible to scripts, and ends at log-out or with the
key. Over TLS it has the prefix `__Host-`: no other host of the domain can set or receive it.
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
from app.logs import caller
from app.models import ApiKey
from app.models.base import utc_now
from app.services import keys, sessions

COOKIE = "session"
SECURE_COOKIE = "__Host-session"
_PATHS = {COOKIE: "/api/v1", SECURE_COOKIE: "/"}
_SAFE_METHODS = ("GET", "HEAD")

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="An API key.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="cookie", description="Read-only."
)
_secure_cookie = APIKeyCookie(
    name=SECURE_COOKIE,
    auto_error=False,
    scheme_name="secure_cookie",
    description="Read-only; over TLS.",
)


async def session_id(  # not in a thread: it waits for nothing
    cookie: Annotated[str | None, Depends(_cookie)],
    secure_cookie: Annotated[str | None, Depends(_secure_cookie)],
) -> str | None:
    """Return the id of the session that the browser has sent, if any."""
    return secure_cookie or cookie


SessionId = Annotated[str | None, Depends(session_id)]


async def require_key(
    request: Request,
    context: ContextDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
    cookie: SessionId,
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
        raise UnauthorizedError("The API key is unknown or revoked, or the session has ended.")
    clients.identify(key.prefix)
    known = caller.get()
    if known is not None:
        known["key"] = key.prefix  # for the log


def _find_key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return keys.authenticate(session, text=text)


def _find_session_key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return sessions.authenticate(session, text=text, now=utc_now())


PROTECTED = [Depends(require_key)]

router = APIRouter(prefix="/api/v1/session", tags=["auth"])


@router.post("", status_code=204, dependencies=PROTECTED, responses=documented(401, 503, 507))
def start_session(
    request: Request,
    context: ContextDep,
    response: Response,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
    cookie: SessionId,
) -> None:
    """Exchange a key for a cookie with which a browser can load images, videos and event streams.

    No effect if no key is required.
    """
    text = bearer.credentials if bearer is not None else header
    key = None if text is None else _find_key(context, text)
    if key is None:
        return
    with context.database.writing() as session:
        value = sessions.start(session, key=key, now=utc_now(), previous=cookie)
    secure = _is_secure(request)
    name = SECURE_COOKIE if secure else COOKIE
    response.set_cookie(
        name,
        value,
        max_age=int(sessions.SESSION_LIFETIME.total_seconds()),
        path=_PATHS[name],
        secure=secure,
        httponly=True,
        samesite="strict",
    )


@router.delete("", status_code=204, responses=documented(503, 507))
def end_session(context: ContextDep, response: Response, cookie: SessionId) -> None:
    """End the session and delete its cookie."""
    if cookie is not None and _find_session_key(context, cookie) is not None:
        with context.database.writing() as session:
            sessions.end(session, text=cookie)
    for name, path in _PATHS.items():
        secure = name == SECURE_COOKIE
        response.delete_cookie(name, path=path, secure=secure, httponly=True, samesite="strict")


def _is_secure(request: Request) -> bool:
    """Return whether the browser uses TLS; a proxy may end it without saying so."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")
