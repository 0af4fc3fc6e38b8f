"""Use-cases around videos: take one in, list, read, delete."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from app.errors import VideoNotFoundError
from app.models import Analysis, Video
from app.models.base import new_id

FILENAME_CHARACTERS = 255


@dataclass(frozen=True)
class Upload:
    """A complete upload that waits in a temporary file."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    filename: str


@dataclass(frozen=True)
class Page:
    """A stretch of the list, newest first."""

    videos: Sequence[Video]
    next_cursor: uuid.UUID | None


def display_name(raw: str) -> str:
    """Reduce a client's file name to something safe to show: last component, printable, bounded."""
    last = PurePosixPath(raw.replace("\\", "/")).name
    # Lone surrogates are printable to no database; control characters to no terminal.
    shown = "".join(character for character in last if character.isprintable()).strip()
    return shown[:FILENAME_CHARACTERS] or "unnamed"


def hasher() -> "hashlib._Hash":
    """Return the hash that recognises duplicates."""
    return hashlib.sha256()


def find_duplicate(session: Session, *, sha256: str) -> Video | None:
    """Return the video with this content, if there is one."""
    return session.scalar(
        select(Video).where(Video.sha256 == sha256).options(selectinload(Video.analyses))
    )


def register(session: Session, *, upload: Upload, container: str) -> Video:
    """Add a video and queue its first analysis. The caller moves the file before it commits.

    Raises sqlalchemy's IntegrityError when the same content was registered at the same moment.
    """
    video = Video(
        id=new_id(),
        filename=display_name(upload.filename),
        size=upload.size,
        sha256=upload.sha256,
        container=container,
        analyses=[Analysis()],
    )
    session.add(video)
    session.flush()
    return video


def get(session: Session, *, video_id: uuid.UUID) -> Video:
    """Return a video with its analyses. Raises VideoNotFoundError."""
    video = session.get(Video, video_id, options=[selectinload(Video.analyses)])
    if video is None:
        raise VideoNotFoundError(f"There is no video {video_id}.")
    return video


def page(session: Session, *, limit: int, after: uuid.UUID | None) -> Page:
    """Return up to `limit` videos, newest first, that follow the cursor `after`."""
    query = select(Video).order_by(Video.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Video.id < after)
    videos = session.scalars(query.options(selectinload(Video.analyses))).all()
    more = len(videos) > limit
    return Page(videos=videos[:limit], next_cursor=videos[limit - 1].id if more else None)


def delete(session: Session, *, video_id: uuid.UUID) -> None:
    """Remove a video and its analyses. The caller deletes the file after it has committed."""
    session.delete(get(session, video_id=video_id))
    session.flush()


def exists(session: Session, *, video_id: uuid.UUID) -> bool:
    """Tell whether there is such a video."""
    return session.scalar(select(Video.id).where(Video.id == video_id)) is not None
