"""`/api/v1/videos` and `/imports`: upload, import, list, read, look at, delete."""

import uuid
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Body, Query, Request, Response
from starlette.responses import FileResponse

from app.api.access import PROTECTED
from app.api.analyses import Cursor, Limit
from app.api.context import Context, InContext
from app.api.media import (
    CONTENT,
    KINDS,
    OTHER_KIND,
    THUMBNAIL,
    MediaResponse,
    Width,
    made,
)
from app.api.openapi import links
from app.api.problems import documented
from app.api.shapes import (
    UPLOAD_BODY,
    AnalysisOut,
    ImportIn,
    Moment,
    ParametersShape,
    VideoOut,
    VideoPageOut,
)
from app.api.upload import receive
from app.errors import VideoNotFoundError
from app.logs import event
from app.models import AnalysisStatus
from app.services import analyses, imports, intake, removal, videos
from app.services.videos import Filters, Sort

router = APIRouter(
    prefix="/api/v1",
    tags=["videos"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)
Analyse = Annotated[
    bool, Query(description="Queue an analysis with default parameters if the video is new.")
]
_LINKS = links(
    "video_id", "read_video", "delete_video", "video_content", "video_thumbnail", "request_analysis"
)
_KNOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "model": VideoOut,
        "description": "The same content was here already.",
        "links": _LINKS,
    },
    201: {"description": "Stored.", "links": _LINKS},
}
_ANALYSIS_LINKS = links(
    "analysis_id", "read_analysis", "cancel_analysis", "list_events", "read_timeline"
)


@router.post(
    "/videos",
    status_code=201,
    openapi_extra=UPLOAD_BODY,
    responses={
        **_KNOWN,
        **documented(400, 408, 413, 415, 507),
    },
)
async def upload_video(
    request: Request, context: InContext, response: Response, *, analyse: Analyse = True
) -> VideoOut:
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
        reply, created = await to_thread.run_sync(
            partial(_take_in, context, upload, analyse=analyse), limiter=context.intake_limiter
        )
    return _stored(response, reply, created=created)


@router.post(
    "/imports",
    status_code=201,
    responses={
        **_KNOWN,
        **documented(400, 403, 404, 408, 413, 415, 502, 507),
    },
)
async def import_video(
    context: InContext, response: Response, source: ImportIn, *, analyse: Analyse = True
) -> VideoOut:
    """Store a copy of a file under IMPORT_DIR, or of what a URL of IMPORT_HOSTS answers with.

    Answers when the copy is complete. 403 where the operator has not allowed it.
    """
    reply, created = await to_thread.run_sync(
        partial(_import, context, source, analyse=analyse), limiter=context.import_limiter
    )
    return _stored(response, reply, created=created)


def _import(context: Context, source: ImportIn, *, analyse: bool) -> tuple[VideoOut, bool]:
    rules, storage = context.import_rules, context.storage
    with (
        imports.from_path(source.path, rules=rules, storage=storage)
        if source.path is not None
        else imports.from_url(source.url or "", rules=rules, storage=storage)
    ) as upload:
        return _take_in(context, upload, analyse=analyse)


def _take_in(context: Context, upload: videos.Upload, *, analyse: bool) -> tuple[VideoOut, bool]:
    state, created = intake.take_in(
        context.database,
        storage=context.storage,
        upload=upload,
        tools=context.tools,
        analyse=analyse,
    )
    if created:
        event("video.stored", video_id=state.video.id, size=state.video.size)
        context.queue.wake()
    return VideoOut.of(state), created


def _stored(response: Response, reply: VideoOut, *, created: bool) -> VideoOut:
    response.status_code = 201 if created else 200
    response.headers["location"] = f"/api/v1/videos/{reply.id}"
    return reply


@router.get("/videos", responses=documented(400))
def list_videos(
    context: InContext,
    status: Annotated[
        list[AnalysisStatus], Query(description="Only whose latest analysis is in one of these.")
    ] = [],  # noqa: B006 -- FastAPI copies it
    name: Annotated[str | None, Query(max_length=255, description="Part of the file name.")] = None,
    created_from: Annotated[Moment | None, Query(description="Not before.")] = None,
    created_before: Annotated[Moment | None, Query(description="Before.")] = None,
    sort: Sort = Sort.NEWEST,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> VideoPageOut:
    """List videos with their latest analyses, page by page."""
    filters = Filters(
        status=status,
        name=None if name is None else name.replace("\0", ""),
        created_from=created_from,
        created_before=created_before,
    )
    with context.database.reading() as session:
        page = videos.page(session, filters=filters, sort=sort, limit=limit, after=cursor)
        return VideoPageOut(
            videos=[VideoOut.of(item) for item in page.items], next_cursor=page.next_cursor
        )


@router.get("/videos/{video_id}", responses=documented(404))
def read_video(context: InContext, video_id: uuid.UUID) -> VideoOut:
    """Read one video with its latest analysis."""
    with context.database.reading() as session:
        return VideoOut.of(videos.get(session, video_id=video_id))


@router.delete("/videos/{video_id}", status_code=204, responses=documented(404, 507))
def delete_video(context: InContext, video_id: uuid.UUID) -> None:
    """Delete a video, its files and its analyses; a running one stops."""
    removal.remove(context.database, storage=context.storage, video_id=video_id)
    event("video.deleted", video_id=video_id)


@router.head("/videos/{video_id}/content", include_in_schema=False)
@router.get("/videos/{video_id}/content", response_class=FileResponse, responses=CONTENT)
def video_content(context: InContext, video_id: uuid.UUID) -> MediaResponse:
    """Play or download the original; ranges are served."""
    with context.database.reading() as session:
        video = videos.get(session, video_id=video_id).video
    kind = KINDS.get(video.container.split(",")[0], OTHER_KIND)
    try:
        return MediaResponse(context.storage.path(video_id), kind=kind, filename=video.filename)
    except FileNotFoundError:  # deleted since we looked
        raise VideoNotFoundError(f"There is no video {video_id}.") from None


@router.head("/videos/{video_id}/thumbnail", include_in_schema=False)
@router.get("/videos/{video_id}/thumbnail", response_class=FileResponse, responses=THUMBNAIL)
async def video_thumbnail(
    request: Request,
    context: InContext,
    video_id: uuid.UUID,
    time: Annotated[
        float | None,
        Query(ge=0, le=1_000_000, allow_inf_nan=False, description="Seconds; to a tenth."),
    ] = None,
    width: Width = Width.MEDIUM,
) -> MediaResponse:
    """Show one picture of a video, by default one near its start."""
    return await made(
        context,
        request,
        partial(context.media.video_thumbnail, video_id, time=time, width=width),
        kind="image/jpeg",
    )


@router.post(
    "/videos/{video_id}/analyses",
    status_code=202,
    responses={
        200: {
            "model": AnalysisOut,
            "description": "The same is queued or running already.",
            "links": _ANALYSIS_LINKS,
        },
        202: {"description": "Queued.", "links": _ANALYSIS_LINKS},
        **documented(400, 404, 408, 413, 507),
    },
)
def request_analysis(
    context: InContext,
    response: Response,
    video_id: uuid.UUID,
    parameters: Annotated[ParametersShape | None, Body()] = None,
) -> AnalysisOut:
    """Queue another analysis, with parameters of your own."""
    wanted = (parameters or ParametersShape()).to_parameters()
    with context.database.writing() as session:
        analysis, created = analyses.request(session, video_id=video_id, parameters=wanted)
        reply = AnalysisOut.of(analysis)
    if created:
        event("analysis.requested", analysis_id=reply.id, video_id=video_id)
        context.queue.wake()
    response.status_code = 202 if created else 200
    response.headers["location"] = f"/api/v1/analyses/{reply.id}"
    return reply
