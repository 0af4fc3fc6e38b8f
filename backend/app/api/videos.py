"""`/api/v1/videos`: upload, list, read, delete."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.context import Context, InContext
from app.api.shapes import UPLOAD_BODY, VideoOut, VideoPageOut
from app.api.upload import receive
from app.logs import event
from app.services import intake, videos

router = APIRouter(prefix="/api/v1/videos", tags=["videos"])


@router.post(
    "",
    status_code=201,
    openapi_extra=UPLOAD_BODY,
    responses={
        200: {"model": VideoOut, "description": "The same content was here already."},
        201: {"description": "Stored; its analysis is queued."},
    },
)
async def upload_video(request: Request, context: InContext, response: Response) -> VideoOut:
    """Store a video and queue its analysis.

    The body is a multipart form with one file in the field `file`. What counts is the content, not
    the name: what ffprobe does not recognise as a video is refused with 415.
    """
    async with receive(
        request,
        storage=context.storage,
        limit=int(context.settings.max_upload_bytes),
        idle_timeout=context.settings.upload_idle_timeout.total_seconds(),
    ) as upload:
        reply, created = await run_in_threadpool(_take_in, context, upload)
    response.status_code = 201 if created else 200
    response.headers["location"] = f"/api/v1/videos/{reply.id}"
    return reply


def _take_in(context: Context, upload: videos.Upload) -> tuple[VideoOut, bool]:
    video, created = intake.take_in(
        context.database, storage=context.storage, upload=upload, ffprobe=context.settings.ffprobe
    )
    if created:
        event("video.stored", video_id=video.id, size=video.size)
        context.queue.wake()
    return VideoOut.of(video), created


@router.get("")
def list_videos(
    context: InContext,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[uuid.UUID | None, Query(description="`next_cursor` of a page.")] = None,
) -> VideoPageOut:
    """List videos, newest first."""
    with context.database.reading() as session:
        page = videos.page(session, limit=limit, after=cursor)
        return VideoPageOut(
            videos=[VideoOut.of(video) for video in page.videos], next_cursor=page.next_cursor
        )


@router.get("/{video_id}")
def read_video(context: InContext, video_id: uuid.UUID) -> VideoOut:
    """Read one video with its latest analysis."""
    with context.database.reading() as session:
        return VideoOut.of(videos.get(session, video_id=video_id))


@router.delete("/{video_id}", status_code=204)
def delete_video(context: InContext, video_id: uuid.UUID) -> None:
    """Delete a video, its file and its analyses."""
    with context.database.writing() as session:
        videos.delete(session, video_id=video_id)
        context.storage.mark(video_id)
    # After the commit: a crash in between leaves a marked file, which a later start sweeps.
    context.storage.delete(video_id)
    event("video.deleted", video_id=video_id)
