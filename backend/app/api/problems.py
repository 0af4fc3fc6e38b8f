"""Errors as RFC 9457 problem details (`application/problem+json`)."""

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError, ProgrammingError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.errors import AppError, UnavailableError
from app.logs import event, request_id


class Problem(BaseModel):
    """RFC 9457 §3.1."""

    type: str = Field(examples=["urn:problem:video-not-found"])
    title: str = Field(examples=["Video not found"])
    status: int = Field(examples=[404])
    detail: str | None = Field(default=None, examples=["There is no video 0199…."])
    request_id: str | None = Field(default=None, description="The same id is in the logs.")
    errors: list[dict[str, str]] | None = Field(
        default=None, description="For 422: where in the request, and what is wrong there."
    )


DOCUMENTED: dict[str, Any] = {
    "description": "An error, as RFC 9457 problem details.",
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}


def install(app: FastAPI) -> None:
    """Make every error of `app` leave as a problem."""

    @app.exception_handler(AppError)
    async def _expected(_request: Request, error: AppError) -> JSONResponse:
        return _app_error(error)

    @app.exception_handler(OperationalError)
    @app.exception_handler(ProgrammingError)
    async def _database(_request: Request, _error: Exception) -> JSONResponse:
        event("database.failed", level=40, exc_info=True)
        return _app_error(UnavailableError("The database cannot serve this; see /health."))

    @app.exception_handler(RequestValidationError)
    async def _malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {"where": ".".join(map(str, item["loc"])), "what": str(item["msg"])}
            for item in error.errors()
        ]
        return _reply(422, title="Malformed request", kind="malformed-request", errors=found)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        reply = _reply(error.status_code, title=str(error.detail), kind=None)
        reply.headers.update(error.headers or {})
        return reply

    @app.exception_handler(Exception)
    async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
        # The middleware has logged it with its traceback; outside only the id is shown.
        return _reply(500, title="Internal error", kind="internal-error")


def _app_error(error: AppError) -> JSONResponse:
    words = re.findall("[A-Z][a-z]+", type(error).__name__.removesuffix("Error"))
    return _reply(error.status, title=error.title, kind="-".join(words).lower(), detail=str(error))


def _reply(
    status: int,
    *,
    title: str,
    kind: str | None,
    detail: str | None = None,
    errors: list[dict[str, str]] | None = None,
) -> JSONResponse:
    problem = Problem(
        type="about:blank" if kind is None else f"urn:problem:{kind}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=request_id.get(),
        errors=errors,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        media_type="application/problem+json",
    )
