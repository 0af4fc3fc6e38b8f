"""Periodic clean-up: files of crashed processes, expired uploads, old deliveries to webhooks, and
the videos that retention removes.
"""

import contextlib
import logging
from datetime import datetime

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import deliveries, videos
from app.services.retention import Retention, RetentionBusyError
from app.services.storage import Storage
from app.services.uploads import Uploads
from app.worker.background import BackgroundThread

INTERVAL_S = 600.0


class Janitor(BackgroundThread):
    """Sweep at start and every ten minutes, in every API process; concurrent sweeps are safe."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        uploads: Uploads,
        retention: Retention | None = None,
    ) -> None:
        """Prepare; touch nothing before `start`."""
        super().__init__(name="janitor", interval=INTERVAL_S)
        self._database = database
        self._storage = storage
        self._uploads = uploads
        self._retention = retention

    def step(self) -> None:
        """Sweep and prune once, restore the disk reserve if it was released, remove old videos."""
        self._storage.allocate_reserve()
        with self._database.reading() as session:
            swept = self._storage.sweep(exists=lambda found: videos.exists(session, video_id=found))
        swept += self._uploads.sweep()
        if swept:
            event("storage.swept", files=swept)
        self._prune()
        if self._retention is not None:
            with contextlib.suppress(RetentionBusyError):
                self._remove_old(self._retention)

    def _prune(self) -> None:
        with self._database.reading() as session:
            if not deliveries.any_kept(session):
                return
        with self._database.writing() as session:
            pruned = deliveries.prune(session, now=utc_now())
        if pruned:
            event("deliveries.pruned", count=pruned)

    def _remove_old(self, retention: Retention) -> None:
        for video in retention.run(stopping=self.stopping, held=_log_hold):
            event(
                "video.removed",
                video_id=video.video_id,
                reason=video.reason,
                size=video.size,
                created_at=video.created_at,
            )

    def close(self) -> None:
        """Do nothing: no resources are held between steps."""


def _log_hold(until: datetime) -> None:
    event("retention.clock_jumped", level=logging.WARNING, nothing_removed_by_age_until=until)
