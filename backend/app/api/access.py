"""Who may use `/api/v1`: anybody, or with REQUIRE_API_KEY=true the holders of a key.

Programs send the key as `Authorization: Bearer …` or `X-API-Key: …`. The page does so too, but a
browser cannot add a header to what it loads as picture, video or event stream. For these the page
exchanges the key for a cookie. It is good for reading only (a stranger's page can make a browser
send it, but not read the answer), out of reach of scripts, and ends with the key.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from app.api.context import Context, InContext
from app.api.problems import documented
from app.errors import UnauthorizedError
from app.models import ApiKey
from app.models.base import utc_now
from app.services import keys

COOKIE = "session"
_READING = ("GET", "HEAD")

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="An API key.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="cookie", description="For reading only."
)


async def require_key(
    request: Request,
    context: InContext,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> None:
    """Let the request pass, or raise UnauthorizedError."""
    if not context.settings.require_api_key:
        return
    given = bearer.credentials if bearer is not None else header
    if given is not None:
        known = await run_in_threadpool(_key, context, given)
    elif cookie is not None and request.method in _READING:
        known = await run_in_threadpool(_session_key, context, cookie)
    else:
        raise UnauthorizedError("Send a key as `Authorization: Bearer …` or `X-API-Key: …`.")
    if known is None:
        raise UnauthorizedError("The API key is unknown, revoked or, for a session, expired.")


def _key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return keys.authenticate(session, text=text)


def _session_key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return keys.authenticate_session(session, text=text, now=utc_now())


PROTECTED = [Depends(require_key)]

router = APIRouter(prefix="/api/v1/session", tags=["access"])


@router.post("", status_code=204, dependencies=PROTECTED, responses=documented(401, 503))
def start_session(
    request: Request,
    context: InContext,
    response: Response,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> None:
    """Exchange a key for a cookie that lets a browser load pictures, videos and event streams.

    Does nothing where no key is required.
    """
    given = bearer.credentials if bearer is not None else header
    key = None if given is None else _key(context, given)
    if key is None:
        return
    response.set_cookie(
        COOKIE,
        keys.start_session(key, now=utc_now()),
        max_age=int(keys.SESSION_LIFE.total_seconds()),
        path="/api/v1",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


@router.delete("", status_code=204)
def end_session(response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(COOKIE, path="/api/v1", httponly=True, samesite="strict")
