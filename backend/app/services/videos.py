"""Use cases for videos: register, list, read, delete."""

import enum
import functools
import hashlib
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import ColumnElement, Float, ScalarSelect, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from app.errors import VideoNotFoundError
from app.models import Analysis, AnalysisStatus, MotionEvent, Video
from app.models.base import new_id, utc_now
from app.models.video import UNKNOWN_DURATION
from app.services import facts as stored_facts
from app.services import outbox
from app.services.paging import Order, Page
from app.services.retention_state import start_of_age
from app.video import Probe

MAX_FILENAME_LENGTH = 255
# Bidirectional embeddings, overrides and isolates can make "gpj.exe" read "exe.jpg"; U+FEFF and
# U+FFF9 to U+FFFB are remains of an encoding and of annotations.
_REORDERING = frozenset(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC)))
)


class Sort(enum.StrEnum):
    """Sort orders of the list of videos; a minus sign means descending."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    NAME = "filename"
    NAME_DESCENDING = "-filename"
    SMALLEST = "size"
    LARGEST = "-size"
    SHORTEST = "duration"
    LONGEST = "-duration"


@dataclass(frozen=True)
class Upload:
    """A complete upload in a temporary file."""

    path: Path
    size: int
    """In bytes."""
    sha256: str
    filename: str
    source: str = "upload"
    client: str | None = None
    """Who stores it."""


@dataclass(frozen=True)
class Filters:
    """Filters of the list of videos; None means no filter."""

    status: Sequence[AnalysisStatus] = ()
    """Status of the latest analysis."""
    name: str | None = None
    """Part of the file name, ignoring case."""
    created_from: datetime | None = None
    created_before: datetime | None = None
    caption: str | None = None
    """Part of the caption of an event that the latest analysis found, ignoring case."""


@dataclass(frozen=True)
class VideoState:
    """A video and its latest analysis."""

    video: Video
    analysis: Analysis | None


def display_name(raw: str) -> str:
    """Return a client's file name made safe for display: last component, one line, bounded.

    Every kind of space becomes a plain one. Characters that join others are kept: without them
    Persian words are misspelt, and one emoji becomes three.
    """
    last = PurePosixPath(raw.replace("\\", "/")).name
    return "".join(map(_shown, last)).strip()[:MAX_FILENAME_LENGTH].rstrip() or "unnamed"


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    # Databases reject lone surrogates, and control characters can garble a terminal.
    if category in ("Cc", "Cs") or character in _REORDERING:
        return ""
    return " " if category.startswith("Z") else character


def hasher() -> "hashlib._Hash":
    """Return the hash by which duplicates are detected."""
    return hashlib.sha256()


@functools.cache  # building it costs a sixth of a whole request
def _latest_analysis_id() -> ScalarSelect[uuid.UUID]:
    # Ids sort by time; the index on (video_id, id) makes this one lookup per video.
    inner = aliased(Analysis)
    return (
        select(inner.id)
        .where(inner.video_id == Video.id)
        .order_by(inner.id.desc())
        .limit(1)
        .correlate(Video)
        .scalar_subquery()
    )


def find_duplicate(session: Session, *, sha256: str) -> VideoState | None:
    """Return the video with this content, or None."""
    return _first(session, Video.sha256 == sha256)


def register(session: Session, *, upload: Upload, facts: Probe) -> Video:
    """Add a video. The caller moves the file into place before committing.

    Raise SQLAlchemy's IntegrityError if the same content is registered concurrently.
    """
    video = Video(
        id=new_id(),
        filename=display_name(upload.filename),
        size=upload.size,
        sha256=upload.sha256,
        **stored_facts.columns(facts),
        source=upload.source,
        client=upload.client or None,
        retained_from=start_of_age(),
    )
    session.add(video)
    session.flush()
    outbox.video_stored(session, video=video)
    return video


def display_size(video: Video) -> tuple[int | None, int | None]:
    """Return width and height as players show them; rows of older versions know no pixel aspect."""
    if video.display_width is None and video.rotation in {90, 270}:
        return video.height, video.width
    return video.display_width or video.width, video.display_height or video.height


def get(session: Session, *, video_id: uuid.UUID) -> VideoState:
    """Return a video with its latest analysis. Raise VideoNotFoundError if it does not exist."""
    state = _first(session, Video.id == video_id)
    if state is None:
        raise VideoNotFoundError(f"Video {video_id} does not exist.")
    return state


def _first(session: Session, condition: ColumnElement[bool]) -> VideoState | None:
    query = (
        select(Video, Analysis)
        .outerjoin(Analysis, Analysis.id == _latest_analysis_id())
        .where(condition)
    )
    row = session.execute(query).first()
    return None if row is None else VideoState(row[0], row[1])


def page(
    session: Session, *, filters: Filters, sort: Sort, limit: int, after: str | None
) -> Page[VideoState]:
    """Return up to `limit` videos after the cursor `after`, in a single query.

    Raise InvalidCursorError if the cursor is not one of this list.
    """
    order = _order(sort)
    query = select(Video, Analysis).outerjoin(Analysis, Analysis.id == _latest_analysis_id())
    if filters.status:
        query = query.where(Analysis.status.in_(filters.status))
    if filters.name:
        query = query.where(Video.filename.icontains(filters.name, autoescape=True))
    if filters.created_from is not None:
        query = query.where(Video.created_at >= filters.created_from)
    if filters.created_before is not None:
        query = query.where(Video.created_at < filters.created_before)
    if filters.caption:
        found = MotionEvent.caption.icontains(filters.caption, autoescape=True)
        query = query.where(
            select(MotionEvent.id).where(MotionEvent.analysis_id == Analysis.id, found).exists()
        )
    rows = session.execute(order.apply(query, after=after, limit=limit))
    return order.page(
        [VideoState(video, analysis) for video, analysis in rows],
        limit=limit,
        position=lambda state: (_sort_key(sort, state.video), state.video.id),
    )


def _order(sort: Sort) -> Order:
    keys: dict[str, ColumnElement[Any] | None] = {
        "created_at": None,  # ids sort by creation time
        "filename": Video.filename.expression,
        "size": Video.size.expression,
        # Exactly as in its index; with a bind parameter the index would not be used.
        "duration": func.coalesce(
            Video.duration, literal_column(str(UNKNOWN_DURATION)), type_=Float()
        ),
    }
    return Order(
        name=sort.value,
        id=Video.id.expression,
        key=keys[sort.value.removeprefix("-")],
        descending=sort.value.startswith("-"),
    )


def _sort_key(sort: Sort, video: Video) -> Any:
    match sort.value.removeprefix("-"):
        case "created_at":
            return None
        case "duration":
            return UNKNOWN_DURATION if video.duration is None else video.duration
        case name:
            return getattr(video, name)


def delete(session: Session, *, video_id: uuid.UUID) -> None:
    """Delete a video and its analyses. The caller deletes the file after the commit."""
    video = get(session, video_id=video_id).video
    outbox.video_deleted(session, video=video, now=utc_now())
    session.delete(video)
    session.flush()


def exists(session: Session, *, video_id: uuid.UUID) -> bool:
    """Return whether the video exists."""
    return session.scalar(select(Video.id).where(Video.id == video_id)) is not None
