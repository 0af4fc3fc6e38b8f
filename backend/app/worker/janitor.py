"""Periodic clean-up: files left behind by crashed processes, expired resumable uploads, and old
deliveries to webhooks.
"""

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import deliveries, videos
from app.services.storage import Storage
from app.services.uploads import Uploads
from app.worker.background import BackgroundThread

INTERVAL_S = 600.0


class Janitor(BackgroundThread):
    """Sweep at start and every ten minutes, in every API process; concurrent sweeps are safe."""

    def __init__(self, *, database: Database, storage: Storage, uploads: Uploads) -> None:
        """Prepare; touch nothing before `start`."""
        super().__init__(name="janitor", interval=INTERVAL_S)
        self._database = database
        self._storage = storage
        self._uploads = uploads

    def step(self) -> None:
        """Sweep and prune once, and restore the disk reserve if it was released."""
        self._storage.allocate_reserve()
        with self._database.reading() as session:
            swept = self._storage.sweep(exists=lambda found: videos.exists(session, video_id=found))
        swept += self._uploads.sweep()
        if swept:
            event("storage.swept", files=swept)
        self._prune()

    def _prune(self) -> None:
        with self._database.reading() as session:
            if not deliveries.any_kept(session):
                return
        with self._database.writing() as session:
            pruned = deliveries.prune(session, now=utc_now())
        if pruned:
            event("deliveries.pruned", count=pruned)

    def close(self) -> None:
        """Do nothing: no resources are held between steps."""
