"""What every request can reach: the parts that `create_app` put together."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.api.progress import ProgressHub
from app.db import Database
from app.services.media import Media
from app.services.queue import AnalysisQueue
from app.services.storage import Storage
from app.settings import Settings


@dataclass(frozen=True)
class Context:
    """One per application."""

    settings: Settings
    database: Database
    storage: Storage
    queue: AnalysisQueue
    media: Media
    progress: ProgressHub


async def _context(request: Request) -> Context:
    found = request.app.state.context
    assert isinstance(found, Context)  # noqa: S101  (set by create_app)
    return found


InContext = Annotated[Context, Depends(_context)]
