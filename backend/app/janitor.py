"""Clears up, now and then, what processes that died have left behind (`Storage.sweep`)."""

from app.background import BackgroundThread
from app.db import Database
from app.logs import event
from app.services import videos
from app.services.storage import Storage

INTERVAL_S = 600.0


class Janitor(BackgroundThread):
    """Sweeps at the start and every ten minutes, in every process: whoever comes first."""

    def __init__(self, *, database: Database, storage: Storage) -> None:
        """Prepare; nothing is touched before `start`."""
        super().__init__(name="janitor", interval=INTERVAL_S)
        self._database = database
        self._storage = storage

    def step(self) -> None:
        """Sweep once, and set room aside again if it was given up."""
        self._storage.reserve()
        with self._database.reading() as session:
            swept = self._storage.sweep(exists=lambda found: videos.exists(session, video_id=found))
        if swept:
            event("storage.swept", files=swept)

    def closed(self) -> None:
        """Nothing is held between steps."""
