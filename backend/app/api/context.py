"""What every request can reach: the parts that `create_app` put together."""

from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from app.db import Database
from app.services.imports import ImportRules
from app.services.media import Media
from app.services.queue import AnalysisQueue
from app.services.storage import Storage
from app.settings import Settings
from app.video import Tools

if TYPE_CHECKING:
    from app.api.metrics import RequestMeter
    from app.api.progress import ProgressHub


@dataclass(frozen=True)
class Context:
    """One per application."""

    settings: Settings
    database: Database
    storage: Storage
    queue: AnalysisQueue
    tools: Tools
    media: Media
    media_limiter: CapacityLimiter
    """How many requests may run ffmpeg at once."""
    intake_limiter: CapacityLimiter
    """How many may examine what they have uploaded."""
    import_limiter: CapacityLimiter
    """How many may copy from elsewhere."""
    import_rules: ImportRules
    stopping: Event
    """Set as soon as the service is asked to stop."""
    progress: "ProgressHub"
    meter: "RequestMeter"


async def _context(request: Request) -> Context:
    found = request.app.state.context
    assert isinstance(found, Context)  # noqa: S101 -- set by create_app
    return found


InContext = Annotated[Context, Depends(_context)]
