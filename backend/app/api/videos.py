"""`/api/v1/videos` and `/imports`: upload, import, list, read, stream, delete."""

import uuid
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from app.api import clients
from app.api.analyses import Cursor, Limit, wanted_caption
from app.api.auth import PROTECTED
from app.api.deps import Context, ContextDep
from app.api.media import (
    CONTENT,
    DEFAULT_MEDIA_TYPE,
    MEDIA_TYPES,
    PREVIEW,
    THUMBNAIL,
    MediaResponse,
    Width,
    media_response,
)
from app.api.openapi import links
from app.api.problems import documented
from app.api.schemas import (
    UPLOAD_BODY,
    AnalysisOut,
    ImportIn,
    ParametersSchema,
    UtcDatetime,
    VideoOut,
    VideoPageOut,
)
from app.api.upload import OVERHEAD, receive
from app.errors import VideoNotFoundError
from app.logs import event
from app.models import AnalysisStatus
from app.services import analyses, imports, quotas, removal, videos
from app.services.ingest import ingest
from app.services.videos import Filters, Sort

router = APIRouter(
    prefix="/api/v1",
    tags=["videos"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)
Analyse = Annotated[
    bool, Query(description="Queue an analysis with default parameters if the video has none.")
]
_LINKS = links(
    "video_id", "read_video", "delete_video", "video_content", "video_thumbnail", "request_analysis"
)
_STORED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": VideoOut,
        "description": "A video with the same content already exists.",
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
        **_STORED,
        **documented(400, 408, 413, 415, 429, 507),
    },
)
async def upload_video(
    request: Request, context: ContextDep, response: Response, *, analyse: Analyse = True
) -> VideoOut:
    """Store a video and queue its analysis.

    The body is a multipart form with one file in the field `file`. Its content decides, not its
    name: a file that ffprobe does not recognise as a video is rejected with 415.
    """
    announced = request.headers.get("content-length", "")
    size = max(0, int(announced) - OVERHEAD) if announced.isdecimal() else 0
    await check_quota(context, size)
    async with receive(
        request,
        storage=context.storage,
        limit=int(context.settings.max_upload_bytes),
        idle_timeout=context.settings.upload_idle_timeout.total_seconds(),
    ) as upload:
        reply, created = await context.ingest_limiter.run(
            partial(
                store_upload,
                context,
                replace(upload, client=clients.current()),
                analyse=analyse,
            )
        )
    return _respond(response, reply, created=created)


@router.post(
    "/imports",
    status_code=201,
    responses={
        **_STORED,
        **documented(400, 403, 404, 408, 413, 415, 429, 502, 507),
    },
)
async def import_video(
    context: ContextDep, response: Response, source: ImportIn, *, analyse: Analyse = True
) -> VideoOut:
    """Store a copy of a file below IMPORT_DIR, or of the content of a URL on IMPORT_HOSTS.

    Responds when the copy is complete, or with 403 if the operator has not allowed the source.
    """
    reply, created = await context.import_limiter.run(
        partial(_import, context, source, analyse=analyse, client=clients.current())
    )
    return _respond(response, reply, created=created)


def _import(
    context: Context, source: ImportIn, *, analyse: bool, client: str
) -> tuple[VideoOut, bool]:
    rules, storage = context.import_rules, context.storage
    with (
        imports.from_path(source.path, rules=rules, storage=storage)
        if source.path is not None
        else imports.from_url(source.url or "", rules=rules, storage=storage)
    ) as upload:
        return store_upload(context, replace(upload, client=client), analyse=analyse)


async def check_quota(context: Context, size: int) -> None:
    """Raise QuotaError before the first byte of what will not be stored is received."""
    client = clients.current()
    if client and not client.startswith("@"):

        def check() -> None:
            with context.database.reading() as session:
                quotas.check_bytes(session, client=client, size=size, quotas=context.quotas)

        await run_in_threadpool(check)


def store_upload(
    context: Context, upload: videos.Upload, *, analyse: bool
) -> tuple[VideoOut, bool]:
    """Store a complete upload; return the video and whether it is new."""
    state, created = ingest(
        context.database,
        storage=context.storage,
        upload=upload,
        tools=context.tools,
        analyse=analyse,
        quotas=context.quotas,
    )
    if created:
        event("video.stored", video_id=state.video.id, size=state.video.size)
    if analyse:
        context.queue.wake()
    return VideoOut.from_state(state), created


def _respond(response: Response, reply: VideoOut, *, created: bool) -> VideoOut:
    response.status_code = 201 if created else 200
    response.headers["location"] = f"/api/v1/videos/{reply.id}"
    return reply


@router.get("/videos", responses=documented(400))
def list_videos(  # noqa: PLR0913, PLR0917 - each is a query parameter
    context: ContextDep,
    status: Annotated[
        list[AnalysisStatus],
        Query(description="Only videos whose latest analysis has one of these statuses."),
    ] = [],  # noqa: B006 - FastAPI copies it
    name: Annotated[
        str | None,
        Query(max_length=255, description="Only videos whose file name contains this text."),
    ] = None,
    caption: Annotated[
        str | None,
        Query(
            max_length=300,
            description="Only videos with an event of the latest analysis whose caption contains "
            "this text.",
        ),
    ] = None,
    created_from: Annotated[UtcDatetime | None, Query(description="Inclusive.")] = None,
    created_before: Annotated[UtcDatetime | None, Query(description="Exclusive.")] = None,
    sort: Sort = Sort.NEWEST,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> VideoPageOut:
    """List videos with their latest analyses."""
    filters = Filters(
        status=status,
        name=None if name is None else name.replace("\0", ""),
        created_from=created_from,
        created_before=created_before,
        caption=wanted_caption(context, caption),
    )
    with context.database.reading() as session:
        page = videos.page(session, filters=filters, sort=sort, limit=limit, after=cursor)
        return VideoPageOut(
            videos=[VideoOut.from_state(item) for item in page.items], next_cursor=page.next_cursor
        )


@router.get("/videos/{video_id}", responses=documented(404))
def read_video(context: ContextDep, video_id: uuid.UUID) -> VideoOut:
    """Get a video with its latest analysis."""
    with context.database.reading() as session:
        return VideoOut.from_state(videos.get(session, video_id=video_id))


@router.delete("/videos/{video_id}", status_code=204, responses=documented(404, 507))
def delete_video(context: ContextDep, video_id: uuid.UUID) -> None:
    """Delete a video with its files and analyses; a running analysis stops."""
    removal.remove(context.database, storage=context.storage, video_id=video_id)
    event("video.deleted", video_id=video_id)


@router.get("/videos/{video_id}/content", response_class=FileResponse, responses=CONTENT)
def video_content(context: ContextDep, video_id: uuid.UUID) -> MediaResponse:
    """Get the original file. Supports range requests."""
    with context.database.reading() as session:
        video = videos.get(session, video_id=video_id).video
    media_type = MEDIA_TYPES.get(video.container.split(",")[0], DEFAULT_MEDIA_TYPE)
    try:
        path = context.storage.path(video_id)
        return MediaResponse(
            path,
            media_type=media_type,
            filename=video.filename,
            version=video.sha256,
            reading=context.readers.reading(video_id),
        )
    except FileNotFoundError:  # deleted in the meantime
        raise VideoNotFoundError(f"Video {video_id} does not exist.") from None


@router.get("/videos/{video_id}/thumbnail", response_class=FileResponse, responses=THUMBNAIL)
async def video_thumbnail(
    request: Request,
    context: ContextDep,
    video_id: uuid.UUID,
    time: Annotated[
        float | None,
        Query(
            ge=0,
            le=1_000_000,
            allow_inf_nan=False,
            description="In seconds, rounded down to 0.1 s.",
        ),
    ] = None,
    width: Width = Width.MEDIUM,
) -> MediaResponse:
    """Get a frame of a video as a JPEG, by default one near the start."""
    return await media_response(
        context,
        request,
        partial(context.media.video_thumbnail, video_id, time=time, width=width),
        limiter=context.picture_limiter,
        media_type="image/jpeg",
    )


@router.head("/videos/{video_id}/preview", include_in_schema=False)
@router.get("/videos/{video_id}/preview", response_class=FileResponse, responses=PREVIEW)
def video_preview(context: ContextDep, video_id: uuid.UUID) -> MediaResponse:
    """Get a copy that every browser plays, as MP4 (H.264, AAC). Supports range requests.

    An analysis makes it if the original needs it; `has_preview` tells.
    """
    try:
        return MediaResponse(
            context.media.preview(video_id),
            media_type="video/mp4",
            reading=context.readers.reading(video_id),
        )
    except FileNotFoundError:  # deleted in the meantime
        raise VideoNotFoundError(f"Video {video_id} has no preview.") from None


@router.post(
    "/videos/{video_id}/analyses",
    status_code=202,
    responses={
        200: {
            "model": AnalysisOut,
            "description": "An identical analysis is already queued or running.",
            "links": _ANALYSIS_LINKS,
        },
        202: {"description": "Queued.", "links": _ANALYSIS_LINKS},
        **documented(400, 404, 408, 413, 429, 507),
    },
)
def request_analysis(
    context: ContextDep,
    response: Response,
    video_id: uuid.UUID,
    parameters: Annotated[ParametersSchema | None, Body()] = None,
) -> AnalysisOut:
    """Queue an analysis with custom parameters."""
    chosen = (parameters or ParametersSchema()).to_parameters()
    with context.database.writing() as session:
        analysis, created = analyses.request(
            session,
            video_id=video_id,
            parameters=chosen,
            client=clients.current(),
            quotas=context.quotas,
        )
        reply = AnalysisOut.from_row(analysis)
    if created:
        event("analysis.requested", analysis_id=reply.id, video_id=video_id)
        context.queue.wake()
    response.status_code = 202 if created else 200
    response.headers["location"] = f"/api/v1/analyses/{reply.id}"
    return reply
