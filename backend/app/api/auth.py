"""Authentication for `/api/v1`: open to everybody, or API keys and people who have signed in.

Clients send the key as `Authorization: Bearer …` or `X-API-Key: …`. The page does so too, but
browsers cannot add headers when they load images, videos or event streams. For these the page
exchanges the key for a session cookie. The cookie is read-only (another site can make a browser
send it, but cannot read the response), not accessible to scripts, and ends at log-out or with the
key. The session of a person who has signed in (`app.api.sign_in`) does what their role allows:
`app.api.origins` and `SameSite=Strict` keep other sites from using it. Over TLS the cookie has the
prefix `__Host-`: no other host of the domain can set or receive it.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from app.api import clients
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.errors import AdminRequiredError, ReadOnlyError, UnauthorizedError
from app.logs import caller
from app.models import ApiKey
from app.models.base import utc_now
from app.services import keys, sessions
from app.services.sign_in import Person, Role, client_name

COOKIE = "session"
SECURE_COOKIE = "__Host-session"
_PATHS = {COOKIE: "/api/v1", SECURE_COOKIE: "/"}
_SAFE_METHODS = ("GET", "HEAD")
_SEND_A_KEY = "Send a key as `Authorization: Bearer …` or `X-API-Key: …`."

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
    if not context.settings.requires_authentication():
        return
    text = bearer.credentials if bearer is not None else header
    safe = request.method in _SAFE_METHODS
    owner: ApiKey | Person | None = None
    if text is not None:
        owner = await run_in_threadpool(_find_key, context, text)
    elif cookie is not None and (safe or context.sign_in is not None):
        owner = await run_in_threadpool(_find_owner, context, cookie)
        if isinstance(owner, ApiKey) and not safe:
            raise UnauthorizedError(_SEND_A_KEY)
    else:
        raise UnauthorizedError(_SEND_A_KEY)
    if owner is None:
        raise UnauthorizedError("The API key is unknown or revoked, or the session has ended.")
    known = caller.get() or {}  # for the log
    if isinstance(owner, ApiKey):
        request.state.admin = owner.admin
        clients.identify(owner.prefix)
        known["key"] = owner.prefix
        return
    request.state.admin = False
    clients.identify(client_name(owner.address))
    known["user"] = owner.address
    request.state.person = owner
    if not safe and _role(context, owner) is not Role.EDITOR:
        raise ReadOnlyError(
            f"{owner.address} may read, but not change anything. Whoever operates the service can "
            "add the address to GOOGLE_EDITORS."
        )


def _find_key(context: Context, text: str) -> ApiKey | None:
    with context.database.reading() as session:
        return keys.authenticate(session, text=text)


def _find_owner(context: Context, text: str) -> ApiKey | Person | None:
    """Return who owns a session. That of a person who is no longer admitted ends here."""
    with context.database.reading() as session:
        owner = sessions.authenticate(session, text=text, now=utc_now())
    if isinstance(owner, Person) and _role(context, owner) is None:
        with context.database.writing() as session:
            sessions.end(session, text=text)
        return None
    return owner


def _role(context: Context, person: Person) -> Role | None:
    return None if context.sign_in is None else context.sign_in.admission.role(person)


async def require_admin(
    request: Request, context: ContextDep, _: Annotated[None, Depends(require_key)]
) -> None:
    """Raise AdminRequiredError unless a key may manage webhooks, or everybody may do everything."""
    if context.settings.requires_authentication() and not request.state.admin:
        raise AdminRequiredError(
            "Managing webhooks takes an API key that may. Create one with "
            "`python3 -m app.cli.keys create NAME --admin`."
        )


PROTECTED = [Depends(require_key)]
ADMIN = [Depends(require_admin)]


async def current_person(request: Request) -> Person | None:
    """Return who has signed in, after `require_key`; None for API keys."""
    person = getattr(request.state, "person", None)
    assert person is None or isinstance(person, Person)  # noqa: S101 - set by require_key
    return person


CurrentPerson = Annotated[Person | None, Depends(current_person)]

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
        value = sessions.start(session, owner=key, now=utc_now(), previous=cookie)
    set_session_cookie(response, value, secure=_is_secure(request))


def set_session_cookie(response: Response, value: str, *, secure: bool) -> None:
    """Give the browser the id of its session."""
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
    if cookie is not None and _find_owner(context, cookie) is not None:
        with context.database.writing() as session:
            sessions.end(session, text=cookie)
    for name, path in _PATHS.items():
        secure = name == SECURE_COOKIE
        response.delete_cookie(name, path=path, secure=secure, httponly=True, samesite="strict")


def _is_secure(request: Request) -> bool:
    """Return whether the browser uses TLS; a proxy may end it without saying so."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")
