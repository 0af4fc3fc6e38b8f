"""`/api/v1/events`: read one, look at it, watch it."""

import uuid
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import FileResponse

from app.api.access import PROTECTED
from app.api.context import InContext
from app.api.media import CLIP, THUMBNAIL, MediaResponse, Width, made
from app.api.problems import documented
from app.api.shapes import EventOut
from app.services import events

router = APIRouter(
    prefix="/api/v1/events",
    tags=["events"],
    dependencies=PROTECTED,
    responses=documented(401, 404, 422, 503),
)


@router.get("/{event_id}")
def read_event(context: InContext, event_id: uuid.UUID) -> EventOut:
    """Read one event."""
    with context.database.reading() as session:
        return EventOut.of(events.get(session, event_id=event_id).event)


@router.head("/{event_id}/thumbnail", include_in_schema=False)
@router.get("/{event_id}/thumbnail", response_class=FileResponse, responses=THUMBNAIL)
async def event_thumbnail(
    request: Request, context: InContext, event_id: uuid.UUID, width: Width = Width.MEDIUM
) -> MediaResponse:
    """Show the moment in which most moved, with a box around what did."""
    return await made(
        context,
        request,
        partial(context.media.event_thumbnail, event_id, width=width),
        kind="image/jpeg",
    )


@router.head("/{event_id}/clip", include_in_schema=False)
@router.get("/{event_id}/clip", response_class=FileResponse, responses=CLIP)
async def event_clip(request: Request, context: InContext, event_id: uuid.UUID) -> MediaResponse:
    """Play the event alone, as MP4 (H.264, AAC), with a second before and after it.

    The first request cuts it, which takes a while; ranges are served.
    """
    make = partial(context.media.event_clip, event_id)
    return await made(context, request, make, kind="video/mp4")
