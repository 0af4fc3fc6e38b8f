"""Deletes a video: row, content, and whatever was made from it.

A disk can be so full that the database has no room to note a deletion, and then nobody could ever
make room. So a little is held in reserve for exactly this (`Storage.reserve`).
"""

import uuid

from sqlalchemy.exc import OperationalError

from app.db import Database, out_of_room
from app.services import videos
from app.services.storage import Storage


def remove(database: Database, *, storage: Storage, video_id: uuid.UUID) -> None:
    """Delete a video in a transaction of its own; a running analysis stops.

    Raises VideoNotFoundError.
    """
    try:
        _forget(database, storage=storage, video_id=video_id)
    except (OperationalError, OSError) as error:
        if not out_of_room(error):
            raise
        storage.give_up_reserve()
        _forget(database, storage=storage, video_id=video_id)
    # After the commit: a crash in between leaves a marked file, which a later start sweeps.
    storage.delete(video_id)
    storage.reserve()


def _forget(database: Database, *, storage: Storage, video_id: uuid.UUID) -> None:
    with database.writing() as session:
        videos.delete(session, video_id=video_id)
        storage.mark(video_id)
