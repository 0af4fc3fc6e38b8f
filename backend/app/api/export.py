"""`/api/v1/analyses/{id}/events.csv` and `.json`: all events of an analysis as one file."""

import csv
import io
import json
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from app.api.auth import PROTECTED
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.api.schemas import AnalysisOut, BoxOut, EventOut, VideoOut
from app.services import analyses, events, videos

PAGE = 500
# Absent ones are left empty. The box is the largest at the time of the most motion.
COLUMNS = ("position", "start", "end", "started_at", "ended_at", "peak_time", "peak_score")
BOX = ("x", "y", "width", "height")
# After the others, so that these keep their places; only if captions are enabled.
CAPTION = ("caption_status", "caption")
# Spreadsheets take a cell that begins with one of these, or its wide form, for a formula.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")

router = APIRouter(
    prefix="/api/v1/analyses",
    tags=["analyses"],
    dependencies=PROTECTED,
    responses=documented(401, 404, 422, 503),
)


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"type": "string"}}
    return {200: {"description": "The file.", "content": {media_type: schema}}}


@router.get("/{analysis_id}/events.csv", response_class=Response, responses=_file("text/csv"))
def export_events_csv(context: ContextDep, analysis_id: uuid.UUID) -> Response:
    """Get all events as CSV (RFC 4180): times, score and the largest box at the peak."""
    video, analysis = _read(context, analysis_id)
    return _download(_csv(context, video, analysis), video, "csv", "text/csv; charset=utf-8")


@router.get(
    "/{analysis_id}/events.json", response_class=Response, responses=_file("application/json")
)
def export_events_json(context: ContextDep, analysis_id: uuid.UUID) -> Response:
    """Get video, analysis and all events, with all boxes, as one JSON document."""
    video, analysis = _read(context, analysis_id)
    return _download(_json(context, video, analysis), video, "json", "application/json")


def _read(context: Context, analysis_id: uuid.UUID) -> tuple[VideoOut, AnalysisOut]:
    with context.database.reading() as session:
        analysis = analyses.get(session, analysis_id=analysis_id)
        state = videos.get(session, video_id=analysis.video_id)
        return VideoOut.from_state(state), AnalysisOut.from_row(analysis)


def _download(parts: Iterator[str], video: VideoOut, suffix: str, media_type: str) -> Response:
    name = quote(f"{PurePosixPath(video.filename).stem} events.{suffix}")
    disposition = {"content-disposition": f"attachment; filename*=utf-8''{name}"}
    return StreamingResponse(parts, media_type=media_type, headers=disposition)


def _events(context: Context, video: VideoOut, analysis: AnalysisOut) -> Iterator[EventOut]:
    cursor = None
    while True:
        with context.database.reading() as session:
            page = events.page(
                session, analysis_id=analysis.id, minimum_score=0, limit=PAGE, after=cursor
            )
            found = [
                EventOut.from_row(
                    row, recorded_at=video.recorded_at, captions=context.settings.captions
                )
                for row in page.items
            ]
        yield from found
        cursor = page.next_cursor
        if cursor is None:
            return


def _csv(context: Context, video: VideoOut, analysis: AnalysisOut) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow((*COLUMNS, *BOX, "id", *(CAPTION if context.settings.captions else ())))
    for event in _events(context, video, analysis):
        values = event.model_dump(mode="json")
        box = min(event.boxes, key=partial(_from_peak, event.peak_time), default=None)
        writer.writerow(
            [
                *(values.get(name) for name in COLUMNS),
                *("" if box is None else getattr(box, name) for name in BOX),
                event.id,
                *_caption_cells(event),
            ]
        )
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _caption_cells(event: EventOut) -> tuple[str, ...]:
    if event.caption is None:
        return ()
    text = event.caption.text or ""
    return event.caption.status, f"'{text}" if text.startswith(_FORMULA) else text


def _from_peak(peak_time: float, box: BoxOut) -> tuple[float, float]:
    return abs(box.time - peak_time), -box.width * box.height


def _json(context: Context, video: VideoOut, analysis: AnalysisOut) -> Iterator[str]:
    head = {
        "video": video.model_dump(mode="json", exclude={"analysis"}),
        "analysis": analysis.model_dump(mode="json"),
    }
    yield f'{json.dumps(head)[:-1]}, "events": ['
    for number, event in enumerate(_events(context, video, analysis)):
        yield f"{',' if number else ''}\n{event.model_dump_json(exclude_unset=True)}"
    yield "\n]}\n"
