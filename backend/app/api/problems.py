"""Errors as RFC 9457 problem details (`application/problem+json`)."""

import logging
import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Scope

from app.db import is_disk_full
from app.errors import AppError, StorageFullError, UnavailableError
from app.logs import event, request_id

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Problem(BaseModel):
    """An error (RFC 9457 §3.1)."""

    type: str = Field(examples=["urn:problem:video-not-found"])
    title: str = Field(examples=["Video not found"])
    status: int = Field(examples=[404])
    detail: str | None = Field(default=None, examples=["Video 0199… does not exist."])
    request_id: str | None = Field(default=None, description="Also in the service's logs.")
    log: str | None = Field(
        default=None, description="For 415: the lines of ffprobe's log behind it, if any."
    )
    errors: list[dict[str, str]] | None = Field(
        default=None, description="For 422: where in the request the error is, and what is wrong."
    )


_EXAMPLES: dict[int, tuple[str, str, str | None]] = {
    400: (
        "invalid-cursor",
        "Invalid cursor",
        "The cursor does not belong to this list.",
    ),
    401: ("unauthorized", "API key required", "Send `Authorization: Bearer …` or `X-API-Key: …`."),
    403: ("forbidden-import", "Import not allowed", "example.org is not in IMPORT_HOSTS."),
    404: ("video-not-found", "Video not found", "Video 0199a3f4-5b2e-7c1d-8e4f-… does not exist."),
    408: ("upload-timeout", "Upload timed out", "No data received for 30 s."),
    409: ("conflict", "Not possible in this state", "Analysis 0199a3f4-… is already done."),
    412: ("upload-version", "Unsupported protocol version", "Send `Tus-Resumable: 1.0.0`."),
    413: (
        "upload-too-large",
        "Upload too large",
        "The video exceeds the limit of 2147483648 bytes.",
    ),
    415: ("not-video", "Not a video", "'a.mkv': the file has no video stream, only audio."),
    416: ("range-not-satisfiable", "Range not satisfiable", "The file has 1234 bytes."),
    422: ("malformed-request", "Malformed request", None),
    423: ("upload-busy", "Upload in use", "Another request is writing to this upload; try again."),
    429: ("too-many-requests", "Too many requests", "The key has 1000 unfinished analyses."),
    460: ("checksum", "Checksum mismatch", "The data does not have the announced checksum."),
    502: ("import-failed", "Import failed", "example.org responded with status 404."),
    503: ("unavailable", "Temporarily unavailable", "The database is unavailable; see /health."),
    507: ("storage-full", "Storage full", "Not enough disk space for this file."),
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for the errors an operation can return."""
    return {status: _documented(status) for status in sorted(statuses)}


def _documented(status: int) -> dict[str, Any]:
    kind, title, detail = _EXAMPLES[status]
    example = {"type": f"urn:problem:{kind}", "title": title, "status": status}
    if detail is not None:
        example["detail"] = detail
    if status == 422:
        example["errors"] = [{"where": "query.limit", "what": "Input should be less than 101"}]
    return {
        "description": title if status == 460 else HTTPStatus(status).phrase,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": example | {"request_id": "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d"},
            }
        },
    }


def install(app: FastAPI) -> None:
    """Turn every expected error of `app` into a problem response; `RequestLog` does the others."""

    @app.exception_handler(AppError)
    async def _expected(_request: Request, error: AppError) -> JSONResponse:
        return _app_error(error)

    @app.exception_handler(OperationalError)
    @app.exception_handler(ProgrammingError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeoutError)
    async def _database(_request: Request, error: Exception) -> JSONResponse:
        event("database.failed", level=logging.ERROR, exc_info=True)
        if is_disk_full(error):
            return _app_error(StorageFullError("The database's disk is full."))
        return _app_error(UnavailableError("The database is unavailable; see /health."))

    @app.exception_handler(OSError)
    async def _disk(_request: Request, error: OSError) -> JSONResponse:
        event("disk.failed", level=logging.ERROR, exc_info=True)
        if is_disk_full(error):
            return _app_error(StorageFullError("The disk is full."))
        return _app_error(UnavailableError("The disk is unavailable; see /health."))

    @app.exception_handler(RequestValidationError)
    async def _malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {"where": ".".join(map(str, item["loc"])), "what": str(item["msg"])}
            for item in error.errors()
        ]
        return problem_response(
            422, title="Malformed request", kind="malformed-request", errors=found
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        response = problem_response(error.status_code, title=str(error.detail), kind=None)
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            allowed = allowed_methods(request.scope)
            # HEAD is answered wherever GET is (app.api.conditional).
            response.headers["allow"] = ", ".join(allowed).replace("GET", "GET, HEAD")
        return response


def allowed_methods(scope: Scope) -> list[str]:
    """Return the methods of all routes matching the path; Starlette reports only the first."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches(dict(scope) | {"method": method})[0] is Match.FULL
            for route in scope["app"].router.routes
        )
    ]


def _app_error(error: AppError) -> JSONResponse:
    words = re.findall("[A-Z][a-z]+", type(error).__name__.removesuffix("Error"))
    kind = "-".join(words).lower()
    log = getattr(error, "log", None)
    return problem_response(error.status, title=error.title, kind=kind, detail=str(error), log=log)


def problem_response(
    status: int,
    *,
    title: str,
    kind: str | None,
    detail: str | None = None,
    log: str | None = None,
    errors: list[dict[str, str]] | None = None,
) -> JSONResponse:
    """Return a problem response; `kind` becomes its type, None stands for `about:blank`."""
    problem = Problem(
        type="about:blank" if kind is None else f"urn:problem:{kind}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=request_id.get(),
        log=log,
        errors=errors,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        media_type="application/problem+json",
        headers={"cache-control": "no-store"},
    )
