"""The web page at `/`: static files, no build step, nothing loaded from other hosts.

Browsers revalidate each file on every use (`app.api.conditional`), so that the page and its modules
are always of the version that runs.
"""

import html
import os
from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.api.deps import ContextDep

router = APIRouter(include_in_schema=False)
_STATIC = Path(__file__).parent / "static"
_ENTRY = b'<script type="module" src="/static/page.js">'
# Nothing of it is requested, let alone shown, where nobody can sign in. It runs before the rest.
_SIGN_IN = """<meta name="sign-in" content="{}">
<link rel="stylesheet" href="/static/sign-in.css">
<script type="module" src="/static/sign-in.js"></script>
"""


class PageFiles(StaticFiles):
    """The files of the page. They are small, so each is sent as one body."""

    def __init__(self) -> None:
        """Serve the directory beside this module."""
        # Build tools lay files out as symlinks. Nobody else writes here, so following is safe.
        super().__init__(directory=_STATIC, follow_symlink=True)

    def file_response(
        self,
        full_path: "os.PathLike[str] | str",
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the file without validators of its time, which all files in an image share."""
        del stat_result, scope
        content_type = guess_type(full_path)[0] or "application/octet-stream"
        return Response(Path(full_path).read_bytes(), status_code, media_type=content_type)


@router.get("/")
def index(context: ContextDep) -> Response:
    """Serve the page, whose body names the features that are switched on."""
    features = {
        "captions": context.settings.captions,
        "retention": context.retention.policy.enabled,
        "webhooks": context.deliverer is not None,
    }
    marks = "".join(f" data-{name}" for name, on in features.items() if on)
    page = (_STATIC / "index.html").read_bytes()
    page = page.replace(b"<body>", f"<body{marks}>".encode(), 1)
    if context.sign_in is not None:
        added = _SIGN_IN.format(html.escape(context.sign_in.url)).encode()
        page = page.replace(_ENTRY, added + _ENTRY, 1)
    return Response(page, media_type="text/html")
