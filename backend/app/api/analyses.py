"""`/api/v1/analyses`: list, read, cancel, retry, delete, events and timeline."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import clients
from app.api.auth import PROTECTED
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.api.schemas import AnalysisOut, AnalysisPageOut, EventOut, EventPageOut, TimelineOut
from app.api.timeline import draw_svg
from app.logs import event
from app.models import AnalysisStatus
from app.models.base import utc_now
from app.services import analyses, events

router = APIRouter(
    prefix="/api/v1/analyses",
    tags=["analyses"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[
    str | None, Query(max_length=2000, description="`next_cursor` of the previous page.")
]


def wanted_caption(context: Context, text: str | None) -> str | None:
    """Return the text that captions are to contain; None, if captions are off, for any."""
    # No database stores NUL, and PostgreSQL refuses to look for it.
    return text.replace("\0", "") if text and context.settings.captions else None


@router.get("", responses=documented(400))
def list_analyses(
    context: ContextDep,
    video_id: Annotated[uuid.UUID | None, Query(description="Only analyses of this video.")] = None,
    status: Annotated[
        list[AnalysisStatus], Query(description="Only analyses with one of these statuses.")
    ] = [],  # noqa: B006 - FastAPI copies it
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AnalysisPageOut:
    """List analyses, newest first."""
    with context.database.reading() as session:
        page = analyses.page(session, video_id=video_id, status=status, limit=limit, after=cursor)
        return AnalysisPageOut(
            analyses=[AnalysisOut.from_row(item) for item in page.items],
            next_cursor=page.next_cursor,
        )


@router.get("/{analysis_id}", responses=documented(404))
def read_analysis(context: ContextDep, analysis_id: uuid.UUID) -> AnalysisOut:
    """Get an analysis, including its result once it is done."""
    with context.database.reading() as session:
        return AnalysisOut.from_row(analyses.get(session, analysis_id=analysis_id))


@router.post("/{analysis_id}/cancel", responses=documented(404, 409, 507))
def cancel_analysis(context: ContextDep, analysis_id: uuid.UUID) -> AnalysisOut:
    """Cancel a queued or running analysis; its worker stops within a second or two."""
    with context.database.writing() as session:
        cancelled = analyses.cancel(session, analysis_id=analysis_id, now=utc_now())
        reply = AnalysisOut.from_row(cancelled)
    event("analysis.cancelled", analysis_id=analysis_id)
    return reply


@router.post("/{analysis_id}/retry", status_code=202, responses=documented(404, 409, 429, 507))
def retry_analysis(context: ContextDep, analysis_id: uuid.UUID) -> AnalysisOut:
    """Requeue a failed or cancelled analysis with the same parameters."""
    with context.database.writing() as session:
        reply = AnalysisOut.from_row(
            analyses.retry(
                session, analysis_id=analysis_id, client=clients.current(), quotas=context.quotas
            )
        )
    context.queue.wake()
    event("analysis.retried", analysis_id=analysis_id)
    return reply


@router.delete("/{analysis_id}", status_code=204, responses=documented(404, 409, 507))
def delete_analysis(context: ContextDep, analysis_id: uuid.UUID) -> None:
    """Delete a finished analysis and its events; the video is kept."""
    with context.database.writing() as session:
        video_id = analyses.get(session, analysis_id=analysis_id).video_id
        event_ids = analyses.delete(session, analysis_id=analysis_id)
    context.media.discard(video_id, analysis_id=analysis_id, event_ids=event_ids)
    event("analysis.deleted", analysis_id=analysis_id)


@router.get(
    "/{analysis_id}/events", responses=documented(400, 404), response_model_exclude_unset=True
)
def list_events(
    context: ContextDep,
    analysis_id: uuid.UUID,
    minimum_score: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)] = 0.0,
    caption: Annotated[
        str | None, Query(max_length=300, description="Only events whose caption contains this.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> EventPageOut:
    """List the events of an analysis in chronological order."""
    captions = context.settings.captions
    with context.database.reading() as session:
        page = events.page(
            session,
            analysis_id=analysis_id,
            minimum_score=minimum_score,
            caption=wanted_caption(context, caption),
            limit=limit,
            after=cursor,
        )
        recorded_at = events.recorded_at(session, analysis_id=analysis_id)
        return EventPageOut(
            events=[
                EventOut.from_row(item, recorded_at=recorded_at, captions=captions)
                for item in page.items
            ],
            next_cursor=page.next_cursor,
        )


@router.get("/{analysis_id}/timeline", responses=documented(404, 409))
def read_timeline(context: ContextDep, analysis_id: uuid.UUID) -> TimelineOut:
    """Get the activity timeline: how much moved when, in a bounded number of buckets."""
    with context.database.reading() as session:
        return TimelineOut(**events.timeline(session, analysis_id=analysis_id))


@router.get(
    "/{analysis_id}/timeline.svg",
    response_class=Response,
    responses={
        200: {
            "description": "The timeline as an image.",
            "content": {"image/svg+xml": {"schema": {"type": "string"}}},
        },
        **documented(404, 409),
    },
)
def draw_timeline(context: ContextDep, analysis_id: uuid.UUID) -> Response:
    """Draw the timeline: one bar per bucket, scaled by the share of the frame that moved."""
    with context.database.reading() as session:
        stored = events.timeline(session, analysis_id=analysis_id)
    return Response(
        draw_svg(scores=stored["scores"], bucket=stored["bucket"]), media_type="image/svg+xml"
    )
