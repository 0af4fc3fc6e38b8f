"""Live progress as server-sent events (WHATWG HTML §9.2).

Workers write progress into the row of an analysis, wherever they run. Here one task per process
looks at the revisions of all rows that somebody watches, a few times a second, and wakes the
streams whose rows have changed: the cost does not grow with the number of listeners.
"""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

import anyio
from anyio import Event
from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response, StreamingResponse

from app.api.access import PROTECTED
from app.api.context import Context, InContext
from app.api.problems import documented
from app.api.shapes import AnalysisOut
from app.db import Database
from app.logs import event
from app.models import FINAL
from app.services import analyses

INTERVAL_S = 0.5
HEARTBEAT_S = 15.0
RETRY_MS = 2000
WATCHED_AT_ONCE = 100


class ProgressHub:
    """Watches rows on behalf of all streams of this process."""

    def __init__(self, database: Database) -> None:
        """Prepare; `run` watches."""
        self._database = database
        self._watched: Counter[uuid.UUID] = Counter()
        self.states: dict[uuid.UUID, AnalysisOut | None] = {}
        """What was seen last of the rows that are watched; None is a row that is gone."""
        self.changed = Event()
        """Set, and replaced by a new one, when `states` has changed or the service stops."""
        self.closed = False
        """Set when streams have to end, because the service is stopping."""

    async def run(self) -> None:
        """Look again and again, as long as somebody watches; runs until it is cancelled."""
        while True:
            await anyio.sleep(INTERVAL_S)
            ids = sorted(self._watched)
            try:
                states = await run_in_threadpool(self._look, ids) if ids else {}
            except SQLAlchemyError:
                continue  # streams go on when the database is back; /health tells meanwhile
            except Exception:  # noqa: BLE001 -- it would take the whole service down
                event("progress.failed", level=40, exc_info=True)
                continue
            if states != self.states:
                self.states = states
                self._wake()

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._wake()

    def watch(self, ids: Iterable[uuid.UUID]) -> None:
        """Look at these rows too, until as many calls of `forget`."""
        self._watched.update(ids)

    def forget(self, ids: Iterable[uuid.UUID]) -> None:
        """Undo one `watch`."""
        self._watched.subtract(ids)
        self._watched = +self._watched  # without those that nobody watches any more

    def _wake(self) -> None:
        self.changed.set()
        self.changed = Event()

    def _look(self, ids: list[uuid.UUID]) -> dict[uuid.UUID, AnalysisOut | None]:
        with self._database.reading() as session:
            revisions = analyses.revisions(session, analysis_ids=ids)
            known = self.states
            fresh = [
                key
                for key, revision in revisions.items()
                if revision is not None and _revision(known.get(key)) != revision
            ]
            rows = analyses.several(session, analysis_ids=fresh) if fresh else {}
            read = {key: AnalysisOut.of(row) for key, row in rows.items()}
        return {
            key: None if revision is None else read.get(key, known.get(key))
            for key, revision in revisions.items()
        }


def _revision(state: AnalysisOut | None) -> int:
    return -1 if state is None else state.revision


router = APIRouter(
    prefix="/api/v1",
    tags=["progress"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "Events of type `progress` whose data is the analysis as JSON: the present state at "
            "once, then every change. `deleted` when it is gone (its data is the id alone), `end` "
            "when all are finished. Comments keep the connection alive."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


@router.get(
    "/analyses/{analysis_id}/progress",
    response_class=Response,
    responses={
        **_STREAM,
        204: {"description": "It is finished and Last-Event-ID has seen all: do not reconnect."},
        **documented(404),
    },
)
def follow_analysis(
    context: InContext,
    analysis_id: uuid.UUID,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Follow one analysis, live.

    The id of each event is the analysis's revision, so that a client that comes back with
    `Last-Event-ID` is told only what it has not seen.
    """
    with context.database.reading() as session:
        analysis = analyses.get(session, analysis_id=analysis_id)
    seen = {}
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
        seen[analysis_id] = int(last_event_id)
        if analysis.status in FINAL and seen[analysis_id] >= analysis.revision:
            return Response(status_code=204)
    return _stream(context, [analysis_id], seen=seen, resumable=True)


@router.get("/progress", response_class=Response, responses=_STREAM)
def follow_analyses(
    context: InContext,
    analysis: Annotated[
        list[uuid.UUID],
        Query(min_length=1, max_length=WATCHED_AT_ONCE, description="Which to follow."),
    ],
) -> Response:
    """Follow several analyses through one connection (browsers open only six to a server).

    A client that comes back is told the present state of each.
    """
    return _stream(context, list(dict.fromkeys(analysis)), seen={}, resumable=False)


def _stream(
    context: Context, ids: list[uuid.UUID], *, seen: dict[uuid.UUID, int], resumable: bool
) -> StreamingResponse:
    return StreamingResponse(
        _events(context, ids, seen=seen, resumable=resumable),
        media_type="text/event-stream",
        # The second is for nginx, which would collect the events otherwise.
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(
    context: Context, ids: list[uuid.UUID], *, seen: dict[uuid.UUID, int], resumable: bool
) -> AsyncIterator[bytes]:
    hub, waiting = context.progress, set(ids)
    hub.watch(ids)
    try:
        yield format_sse_event(retry=RETRY_MS, comment="progress")
        states = await run_in_threadpool(_snapshot, context, ids)
        while not hub.closed:
            for analysis_id in [key for key in ids if key in waiting and key in states]:
                state = states[analysis_id]
                if state is None:
                    waiting.discard(analysis_id)
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
                    waiting.discard(analysis_id)
            if not waiting:
                yield format_sse_event(event="end", data_str="finished")
                return
            changed = hub.changed
            if states is hub.states:
                with anyio.move_on_after(HEARTBEAT_S) as timer:
                    await changed.wait()
                if timer.cancelled_caught:
                    yield format_sse_event(comment="still here")
            states = hub.states
    finally:
        hub.forget(ids)


def _snapshot(context: Context, ids: list[uuid.UUID]) -> dict[uuid.UUID, AnalysisOut | None]:
    with context.database.reading() as session:
        rows = analyses.several(session, analysis_ids=ids)
        return {key: AnalysisOut.of(rows[key]) if key in rows else None for key in ids}
