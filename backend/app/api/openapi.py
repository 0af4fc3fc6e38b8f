"""The OpenAPI document: what FastAPI derives, plus what it cannot know."""

import functools
import json
import threading
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from app.api.problems import Problem

DESCRIPTION = """\
Upload a video, follow its analysis live, and get the motion events: times and bounding boxes,
thumbnails, clips, and an activity timeline.

Errors are problem details (RFC 9457). Lists are paginated with `cursor`. If the operator requires
an API key, send it as `Authorization: Bearer …` or `X-API-Key: …`. Any operation responds with 421
if the Host header is not in ALLOWED_HOSTS. One that changes something responds with 403 if a page
of another site sends it.
"""

SIGN_IN = """\

People can also sign in with Google in a browser. Their session may read and, if they are editors,
change things; whatever changes something responds with 403 to readers.
"""


def links(parameter: str, *operations: str) -> dict[str, Any]:
    """Return OpenAPI links from a response's `id` to operations that take it as `parameter`."""
    return {
        name: {"operationId": name, "parameters": {parameter: "$response.body#/id"}}
        for name in operations
    }


def install(app: FastAPI, *, keys_required: bool, captions: bool, sign_in: bool) -> None:
    """Make `app.openapi()` return the complete document, built on first request, and serve it."""
    lock = threading.Lock()

    def openapi() -> dict[str, Any]:
        with lock:
            return build()

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=DESCRIPTION + (SIGN_IN if sign_in else ""),
                routes=app.routes,
                webhooks=app.webhooks.routes,
            )
            # Errors are raised, not returned, so no operation references their model.
            schemas = document["components"]["schemas"]
            schemas["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            if not keys_required:
                _make_keys_optional(document)
            if not captions:
                _hide_captions(document)
            app.openapi_schema = document
        return app.openapi_schema

    # FastAPI would render the document for each request, and nothing else would happen meanwhile.
    @functools.lru_cache(maxsize=4)
    def rendered(root_path: str) -> bytes:
        servers = {"servers": [{"url": root_path}]} if root_path else {}
        return json.dumps(openapi() | servers, ensure_ascii=False, separators=(",", ":")).encode()

    @app.get("/openapi.json", include_in_schema=False)
    def openapi_document(request: Request) -> Response:
        root_path = request.scope.get("root_path", "").rstrip("/")
        return Response(rendered(root_path), media_type="application/json")

    app.openapi = openapi  # type: ignore[method-assign]  # documented by FastAPI


def _make_keys_optional(document: dict[str, Any]) -> None:
    """Document that a key may be sent but is not required."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" in operation:
                operation["security"].append({})


def _hide_captions(document: dict[str, Any]) -> None:
    """Leave out what only exists if captions are enabled."""
    schemas = document["components"]["schemas"]
    del schemas["CaptionOut"], schemas["EventOut"]["properties"]["caption"]
    for operations in document["paths"].values():
        for operation in operations.values():
            parameters = operation.get("parameters", [])
            parameters[:] = [each for each in parameters if each["name"] != "caption"]
