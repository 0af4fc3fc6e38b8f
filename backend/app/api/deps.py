"""Dependencies available to every request: the components assembled by `create_app`."""

import uuid
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Annotated

from anyio import CancelScope
from fastapi import Depends, Request

from app.api.meter import RequestMeter
from app.api.monitor import Monitor
from app.api.progress_hub import ProgressHub
from app.api.turns import Turns
from app.db import Database
from app.services.imports import ImportRules
from app.services.media import Media
from app.services.queue import AnalysisQueue
from app.services.quotas import Quotas
from app.services.readers import Readers
from app.services.retention import Retention
from app.services.sign_in import SignIn
from app.services.storage import Storage
from app.services.uploads import Uploads
from app.settings import Settings
from app.video import Tools

if TYPE_CHECKING:
    from app.worker.deliverer import Deliverer


@dataclass(frozen=True)
class Context:
    """One instance per application."""

    settings: Settings
    database: Database
    storage: Storage
    uploads: Uploads
    queue: AnalysisQueue
    tools: Tools
    media: Media
    readers: Readers
    retention: Retention
    """Does nothing if neither RETENTION_AGE nor RETENTION_BYTES is set."""
    picture_limiter: Turns
    """Bounds concurrent ffmpeg runs for pictures, which take a moment."""
    clip_limiter: Turns
    """The same for clips, which may take minutes: no picture waits for them."""
    ingest_limiter: Turns
    """Bounds concurrent probing and storing of uploads."""
    import_limiter: Turns
    """Bounds concurrent imports."""
    sign_in_limiter: Turns
    """Bounds concurrent requests to the identity provider."""
    sign_in: SignIn | None
    """None unless people can sign in."""
    import_rules: ImportRules
    quotas: Quotas
    stopping: Event
    """Set as soon as the service is asked to stop."""
    progress: ProgressHub
    meter: RequestMeter
    monitor: Monitor
    deliverer: "Deliverer | None"
    """Sends to webhooks; None without WEBHOOK_HOSTS."""
    writers: dict[uuid.UUID, CancelScope] = field(default_factory=dict)
    """Requests of this process that are writing to a resumable upload."""


async def get_context(request: Request) -> Context:
    """Return the context of the application that handles `request`."""
    context = request.app.state.context
    assert isinstance(context, Context)  # noqa: S101 - set by create_app
    return context


ContextDep = Annotated[Context, Depends(get_context)]
