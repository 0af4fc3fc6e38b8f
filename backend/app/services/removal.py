"""Delete a video: its row, its content, and everything derived from it.

On a completely full disk the database cannot even record a deletion, so space could never be freed.
A small reserve is kept for exactly this (`Storage.allocate_reserve`).
"""

import uuid
from collections.abc import Callable

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Database, is_disk_full
from app.services import videos
from app.services.storage import Storage


def _always(_session: Session) -> None:
    pass


def remove(
    database: Database,
    *,
    storage: Storage,
    video_id: uuid.UUID,
    allow: Callable[[Session], None] = _always,
) -> None:
    """Delete a video in a transaction of its own; a running analysis stops.

    `allow` may refuse in the same transaction, by raising. Raise VideoNotFoundError if the video
    does not exist.
    """
    try:
        _delete_row(database, storage=storage, video_id=video_id, allow=allow)
    except (OperationalError, OSError) as error:
        if not is_disk_full(error):
            raise
        storage.release_reserve()
        _delete_row(database, storage=storage, video_id=video_id, allow=allow)
    # After the commit: a crash in between leaves a marked file, which is swept later.
    storage.delete(video_id)
    storage.allocate_reserve()


def _delete_row(
    database: Database, *, storage: Storage, video_id: uuid.UUID, allow: Callable[[Session], None]
) -> None:
    with database.writing() as session:
        allow(session)
        videos.delete(session, video_id=video_id)
        storage.mark(video_id)
