"""The OpenAPI document: what FastAPI derives, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.problems import Problem

DESCRIPTION = """\
Hand in a video, follow its analysis live, and look at what moved: events with times and boxes,
thumbnails, clips, and an activity timeline.

Errors are problem details (RFC 9457). Lists are paged by `cursor`. Where the operator requires a
key, send it as `Authorization: Bearer …` or `X-API-Key: …`.
"""


def install(app: FastAPI) -> None:
    """Make `app.openapi()` return the complete document, built at the first request for it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=DESCRIPTION,
                routes=app.routes,
            )
            # Errors are raised, not returned, so no operation mentions their model.
            schemas = document["components"]["schemas"]
            schemas["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
