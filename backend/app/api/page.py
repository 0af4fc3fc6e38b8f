"""The web page at `/`: static files, no build step, nothing loaded from other hosts."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

router = APIRouter(include_in_schema=False)
_INDEX = Path(__file__).parent / "static" / "index.html"


@router.get("/")
async def index() -> FileResponse:
    """Serve the page."""
    return FileResponse(_INDEX, media_type="text/html")
