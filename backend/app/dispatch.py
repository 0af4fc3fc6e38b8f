"""Tells Celery of queued analyses; used when there is a broker.

The row is committed first and the broker told afterwards, by this thread, which notes it in the
row. A crash or a broken broker in between loses nothing: the row is still there to be told of. A
message told twice does no harm: the claim decides (`app.services.leases`).
"""

from datetime import timedelta

from app.background import BackgroundThread
from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import leases
from app.services.queue import WorkerState

INTERVAL_S = 5.0
BATCH = 100
# A broker that lost its memory is told again after this long.
AGAIN_AFTER = timedelta(minutes=15)
PING_TIMEOUT_S = 1.0


class CeleryDispatcher(BackgroundThread):
    """Publishes ids of queued analyses; implements AnalysisQueue."""

    def __init__(self, *, broker_url: str, database: Database, longest: float) -> None:
        """Prepare; nothing is connected before `start`. `longest`: see `make_celery`."""
        super().__init__(name="celery-dispatcher", interval=INTERVAL_S)
        self._broker_url = broker_url
        self._database = database
        self._longest = longest

    def state(self) -> WorkerState:
        """Ask the broker whether it is there."""
        from app.celery_app import answers

        if not self.alive():
            return WorkerState.STOPPED
        reachable = answers(self._broker_url, timeout=PING_TIMEOUT_S)
        return WorkerState.CELERY if reachable else WorkerState.UNREACHABLE

    def step(self) -> None:
        """Publish what has not been published."""
        from app.celery_app import make_celery, publish

        while not self.stopping():
            now = utc_now()
            with self._database.reading() as session:
                waiting = leases.undispatched(
                    session, now=now, again_after=AGAIN_AFTER, limit=BATCH
                )
            if not waiting:
                return
            publish(make_celery(self._broker_url, longest=self._longest), analysis_ids=waiting)
            with self._database.writing() as session:
                leases.mark_dispatched(session, analysis_ids=waiting, now=now)
            event("analyses.dispatched", count=len(waiting))

    def closed(self) -> None:
        """Nothing is held between steps."""
