"""Dispatch queued analyses to Celery when a broker is configured.

The row is committed first; this thread then publishes a message and records that in the row. A
crash or a broker outage in between loses nothing, because the row is still marked as not
dispatched. A duplicate message does no harm: the claim decides who runs it (`app.services.leases`).

A restarted broker may have lost its messages. We do not detect the restart itself, only its effect:
rows are queued but the queue is empty.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import leases
from app.services.queue import WorkerState
from app.worker.background import BackgroundThread

INTERVAL_S = 5.0
BATCH = 100
# Longest time between a message leaving the queue and its claim. If the queue is empty after that,
# the broker has lost the message.
IN_FLIGHT = timedelta(seconds=10)
# Republish after this long even though other messages are waiting: one may be lost among them.
REDISPATCH_AFTER = timedelta(minutes=15)
PING_TIMEOUT_S = 1.0


class CeleryDispatcher(BackgroundThread):
    """Publish ids of queued analyses; implement AnalysisQueue."""

    def __init__(self, *, broker_url: str, database: Database, analysis_timeout: float) -> None:
        """Prepare; connect to nothing before `start`. See `make_celery` for `analysis_timeout`."""
        super().__init__(name="celery-dispatcher", interval=INTERVAL_S)
        self._broker_url = broker_url
        self._database = database
        self._analysis_timeout = analysis_timeout

    def state(self) -> WorkerState:
        """Return whether the broker is reachable."""
        from app.worker.broker import is_reachable

        if not self.alive():
            return WorkerState.STOPPED
        reachable = is_reachable(self._broker_url, timeout=PING_TIMEOUT_S)
        return WorkerState.CELERY if reachable else WorkerState.UNREACHABLE

    def step(self) -> None:
        """Publish analyses that were never published or whose message was lost."""
        now = utc_now()  # the same for all batches, so no analysis is published twice in one step
        if not self._undispatched(now, again_after=IN_FLIGHT):
            return  # do not contact the broker needlessly
        from app.worker.broker import make_celery, publish, queue_length

        celery = make_celery(self._broker_url, analysis_timeout=self._analysis_timeout)
        again_after = REDISPATCH_AFTER if queue_length(celery) else IN_FLIGHT
        while not self.stopping() and (ids := self._undispatched(now, again_after=again_after)):
            publish(celery, analysis_ids=ids)
            with self._database.writing() as session:
                leases.mark_dispatched(session, analysis_ids=ids, now=now)
            event("analyses.dispatched", count=len(ids))

    def _undispatched(self, now: datetime, *, again_after: timedelta) -> Sequence[uuid.UUID]:
        with self._database.reading() as session:
            return leases.undispatched(session, now=now, again_after=again_after, limit=BATCH)

    def close(self) -> None:
        """Do nothing: no resources are held between steps."""
