"""Sign in with Google: these routes exist only if it is configured.

`GET /api/v1/sign-in` sends the browser to the provider, and the provider sends it back to
`/callback`, which starts a session. The address it returns to is PUBLIC_URL, never taken from a
request, and afterwards the browser goes to `/`, always.

The attempt's cookie has to be sent when the browser comes back from another site, so it is
`SameSite=Lax`. The session's cookie is `SameSite=Strict`, and its id is new after each sign-in.
"""

import html
import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Cookie, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.api.auth import (
    PROTECTED,
    CurrentPerson,
    SessionId,
    set_session_cookie,
)
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.errors import AppError, IdentityProviderError, NotAdmittedError, SignInError
from app.logs import event
from app.models.base import utc_now
from app.services import sessions, sign_in
from app.services.sign_in import Attempt, Person, Role, SignIn

PREFIX = "/api/v1/sign-in"
CALLBACK = f"{PREFIX}/callback"
COOKIE = "sign-in"
# `__Host-` would need the path `/`, and every request would have the cookie.
SECURE_ATTEMPT_COOKIE = "__Secure-sign-in"
_ERRORS = documented(400, 403, 422, 429, 502, 503, 507)
_Text = Annotated[str | None, Field(max_length=2000)]

router = APIRouter(tags=["auth"])


class Returned(BaseModel):
    """What the provider sends back with the browser."""

    state: _Text = None
    code: _Text = None
    error: _Text = None
    iss: _Text = None


class WhoOut(BaseModel):
    """Who is asking."""

    address: str | None = Field(description="Of a person who has signed in; null for an API key.")
    role: Literal["reader", "editor"] = Field(description="Readers cannot change anything.")


@router.get(PREFIX, status_code=303, response_class=Response, responses=_ERRORS)
async def start_sign_in(request: Request, context: ContextDep) -> Response:
    """Send the browser to Google, which sends it back to the page."""
    return await _answer(request, context, partial(_start, context))


@router.get(CALLBACK, status_code=303, response_class=Response, responses=_ERRORS)
async def finish_sign_in(
    request: Request,
    context: ContextDep,
    returned: Annotated[Returned, Query()],
    previous: SessionId,
    plain: Annotated[str | None, Cookie(alias=COOKIE, include_in_schema=False)] = None,
    secure: Annotated[
        str | None, Cookie(alias=SECURE_ATTEMPT_COOKIE, include_in_schema=False)
    ] = None,
) -> Response:
    """Start a session for whoever comes back from Google. Only Google sends browsers here."""
    configured = _configured(context)
    finish = partial(
        _finish,
        context,
        secret=secure if configured.secure else plain,
        returned=returned,
        previous=previous,
    )
    return await _answer(request, context, finish)


@router.get("/api/v1/session", dependencies=PROTECTED, responses=documented(401, 503))
def read_session(context: ContextDep, person: CurrentPerson) -> WhoOut:
    """Return who has signed in, and what they may do."""
    if person is None:
        return WhoOut(address=None, role="editor")
    role = _configured(context).admission.admit(person)
    return WhoOut(address=person.address, role=role.value)


def _configured(context: Context) -> SignIn:
    assert context.sign_in is not None  # noqa: S101 - or these routes do not exist
    return context.sign_in


def _cookie_name(configured: SignIn) -> str:
    return SECURE_ATTEMPT_COOKIE if configured.secure else COOKIE


def _start(context: Context) -> Response:
    configured = _configured(context)
    with context.database.writing() as session:
        attempt = sign_in.begin(session, now=utc_now())
    response = _redirect(configured.provider.authorization_url(attempt))
    response.set_cookie(
        _cookie_name(configured),
        attempt.secret,
        max_age=int(sign_in.ATTEMPT_LIFETIME.total_seconds()),
        path=PREFIX,
        secure=configured.secure,
        httponly=True,
        samesite="lax",
    )
    return response


def _finish(
    context: Context,
    *,
    secret: str | None,
    returned: Returned,
    previous: str | None,
) -> Response:
    configured = _configured(context)
    attempt = sign_in.continued(secret, state=returned.state)
    with context.database.writing() as session:
        if not sign_in.finish(session, attempt=attempt, now=utc_now()):
            raise SignInError("This sign-in has been used already, or has expired. Start again.")
    person, role = _identify(configured, attempt, returned)
    with context.database.writing() as session:
        value = sessions.start(session, owner=person, now=utc_now(), previous=previous)
    event("sign_in.done", user=person.address, role=role.value)
    response = _redirect("/")
    set_session_cookie(response, value, secure=configured.secure)
    name = _cookie_name(configured)
    response.delete_cookie(
        name, path=PREFIX, secure=configured.secure, httponly=True, samesite="lax"
    )
    return response


def _identify(configured: SignIn, attempt: Attempt, returned: Returned) -> tuple[Person, Role]:
    if returned.error == "access_denied":
        raise NotAdmittedError("The sign-in was cancelled, or the provider has refused it.")
    if returned.error is not None or not returned.code:
        raise IdentityProviderError("The provider has sent no code; start again from the page.")
    claims = configured.provider.identify(code=returned.code, issuer=returned.iss, attempt=attempt)
    person = sign_in.identified(claims)
    return person, configured.admission.admit(person)


async def _answer(request: Request, context: Context, function: Callable[[], Response]) -> Response:
    """Call `function` in a thread; show its errors as a page if a browser asks."""
    try:
        return await context.sign_in_limiter.run(function)
    except AppError as error:
        event("sign_in.refused", level=logging.WARNING, reason=str(error))
        if "text/html" not in request.headers.get("accept", ""):
            raise
        return _page(error)


def _redirect(url: str) -> Response:
    return RedirectResponse(url, status_code=303, headers={"cache-control": "no-store"})


def _page(error: AppError) -> Response:
    title, text = html.escape(error.title), html.escape(str(error))
    return HTMLResponse(
        f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/static/theme.css">
<link rel="stylesheet" href="/static/page.css">
<main>
<section>
<h1>{title}</h1>
<p class="note" role="alert">{text}</p>
<p class="actions"><a class="button" href="{PREFIX}">Sign in again</a> <a href="/">Back</a></p>
</section>
</main>
</html>
""",
        status_code=error.status,
        headers={"cache-control": "no-store"},
    )
