"""Delete a video: its row, its content, and everything derived from it.

On a completely full disk the database cannot even record a deletion, so space could never be freed.
A small reserve is kept for exactly this (`Storage.allocate_reserve`).
"""

import uuid

from sqlalchemy.exc import OperationalError

from app.db import Database, is_disk_full
from app.services import videos
from app.services.storage import Storage


def remove(database: Database, *, storage: Storage, video_id: uuid.UUID) -> None:
    """Delete a video in a transaction of its own; a running analysis stops.

    Raise VideoNotFoundError if it does not exist.
    """
    try:
        _delete_row(database, storage=storage, video_id=video_id)
    except (OperationalError, OSError) as error:
        if not is_disk_full(error):
            raise
        storage.release_reserve()
        _delete_row(database, storage=storage, video_id=video_id)
    # After the commit: a crash in between leaves a marked file, which is swept later.
    storage.delete(video_id)
    storage.allocate_reserve()


def _delete_row(database: Database, *, storage: Storage, video_id: uuid.UUID) -> None:
    with database.writing() as session:
        videos.delete(session, video_id=video_id)
        storage.mark(video_id)
