"""`/api/v1/events`: read an event, its thumbnail and its clip."""

import uuid
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import FileResponse

from app.api.auth import PROTECTED
from app.api.deps import ContextDep
from app.api.media import CLIP, THUMBNAIL, MediaResponse, Width, media_response
from app.api.problems import documented
from app.api.schemas import EventOut
from app.services import events

router = APIRouter(
    prefix="/api/v1/events",
    tags=["events"],
    dependencies=PROTECTED,
    responses=documented(401, 404, 422, 503),
)


@router.get("/{event_id}", response_model_exclude_unset=True)
def read_event(context: ContextDep, event_id: uuid.UUID) -> EventOut:
    """Get an event."""
    with context.database.reading() as session:
        found = events.get(session, event_id=event_id)
        return EventOut.from_row(
            found.event,
            recorded_at=found.video.recorded_at,
            captions=context.settings.captions,
        )


@router.get("/{event_id}/thumbnail", response_class=FileResponse, responses=THUMBNAIL)
async def event_thumbnail(
    request: Request, context: ContextDep, event_id: uuid.UUID, width: Width = Width.MEDIUM
) -> MediaResponse:
    """Get the frame with the most motion as a JPEG, with a box around what moves."""
    return await media_response(
        context,
        request,
        partial(context.media.event_thumbnail, event_id, width=width),
        limiter=context.picture_limiter,
        media_type="image/jpeg",
    )


@router.get("/{event_id}/clip", response_class=FileResponse, responses=CLIP)
async def event_clip(request: Request, context: ContextDep, event_id: uuid.UUID) -> MediaResponse:
    """Get a clip of the event as MP4 (H.264, AAC), with one second before and after it.

    The first request creates the clip, which takes a while. Supports range requests.
    """
    return await media_response(
        context,
        request,
        partial(context.media.event_clip, event_id),
        limiter=context.clip_limiter,
        media_type="video/mp4",
    )
