"""Live progress as server-sent events (WHATWG HTML §9.2)."""

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse

from app.api.auth import PROTECTED
from app.api.conditional import HEAD_ONLY
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.api.schemas import AnalysisOut
from app.models import FINAL
from app.services import analyses

HEARTBEAT_S = 15.0
RETRY_MS = 2000
MAX_WATCHED = 100

router = APIRouter(
    prefix="/api/v1",
    tags=["progress"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "`progress` events carry the analysis as JSON: the current state first, then every "
            "change. `deleted` is sent when an analysis is gone (its data is the id), `end` when "
            "all are finished. Comments keep the connection alive."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


@router.get(
    "/analyses/{analysis_id}/progress",
    response_class=Response,
    responses={
        **_STREAM,
        204: {"description": "Finished, and Last-Event-ID is up to date: do not reconnect."},
        **documented(404),
    },
)
def follow_analysis(
    request: Request,
    context: ContextDep,
    analysis_id: uuid.UUID,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Stream the progress of one analysis.

    The id of each event is the revision of the analysis. A client that reconnects with
    `Last-Event-ID` receives only newer states.
    """
    with context.database.reading() as session:
        analysis = analyses.get(session, analysis_id=analysis_id)
    seen = {}
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
        seen[analysis_id] = int(last_event_id)
        if analysis.status in FINAL and seen[analysis_id] >= analysis.revision:
            return Response(status_code=204)
    return _stream(request, context, [analysis_id], seen=seen, resumable=True)


@router.get("/progress", response_class=Response, responses=_STREAM)
def follow_analyses(
    request: Request,
    context: ContextDep,
    analysis: Annotated[
        list[uuid.UUID],
        Query(min_length=1, max_length=MAX_WATCHED, description="Ids of the analyses to follow."),
    ],
) -> Response:
    """Stream the progress of several analyses over one connection.

    Browsers open at most six connections per server. A client that reconnects receives the current
    state of each analysis again.
    """
    return _stream(request, context, list(dict.fromkeys(analysis)), seen={}, resumable=False)


def _stream(
    request: Request,
    context: Context,
    ids: list[uuid.UUID],
    *,
    seen: dict[uuid.UUID, int],
    resumable: bool,
) -> StreamingResponse:
    if request.scope.get(HEAD_ONLY):
        ids = []  # a stream that ends immediately
    return StreamingResponse(
        _events(context, ids, seen=seen, resumable=resumable),
        media_type="text/event-stream",
        # x-accel-buffering: nginx would buffer the events.
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(
    context: Context, ids: list[uuid.UUID], *, seen: dict[uuid.UUID, int], resumable: bool
) -> AsyncIterator[bytes]:
    hub, unfinished = context.progress, set(ids)
    hub.watch(ids)
    try:
        yield format_sse_event(retry=RETRY_MS, comment="progress")
        states = await run_in_threadpool(_snapshot, context, ids)
        while not hub.closed:
            for analysis_id in [key for key in ids if key in unfinished and key in states]:
                state = states[analysis_id]
                if state is None:
                    unfinished.discard(analysis_id)
                    yield format_sse_event(event="deleted", data_str=str(analysis_id))
                    continue
                if state.revision > seen.get(analysis_id, -1):
                    seen[analysis_id] = state.revision
                    yield format_sse_event(
                        event="progress",
                        data_str=state.model_dump_json(),
                        id=str(state.revision) if resumable else None,
                    )
                if state.status in FINAL:
                    unfinished.discard(analysis_id)
            if not unfinished:
                yield format_sse_event(event="end", data_str="finished")
                return
            changed = hub.changed
            if states is hub.states:
                with anyio.move_on_after(HEARTBEAT_S) as timer:
                    await changed.wait()
                if timer.cancelled_caught:
                    yield format_sse_event(comment="heartbeat")
            states = hub.states
    finally:
        hub.unwatch(ids)


def _snapshot(context: Context, ids: list[uuid.UUID]) -> dict[uuid.UUID, AnalysisOut | None]:
    with context.database.reading() as session:
        rows = analyses.get_many(session, analysis_ids=ids)
        return {key: AnalysisOut.from_row(rows[key]) if key in rows else None for key in ids}
