"""Tells Celery of queued analyses; used when there is a broker.

The row is committed first and the broker told afterwards, by this thread, which notes it in the
row. A crash or a broken broker in between loses nothing: the row is still there to be told of. A
message told twice does no harm: the claim decides (`app.services.leases`).

A broker that was restarted may have forgotten what it was told. No sign of the restart is looked
for, only of what it would mean: rows wait, and no message does.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.background import BackgroundThread
from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import leases
from app.services.queue import WorkerState

INTERVAL_S = 5.0
BATCH = 100
# A message is this long between the broker's queue and the claim, at most; when the queue is empty
# after that, the broker has lost it.
UNDER_WAY = timedelta(seconds=10)
# Of a row whose message is lost while others wait, the broker is told again after this long.
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
        """Publish what has not been published, or was and is lost."""
        now = utc_now()  # one for all batches: what has been told in this step stays told
        if not self._untold(now, again_after=UNDER_WAY):
            return  # the broker is not asked in vain
        from app.celery_app import make_celery, messages, publish

        celery = make_celery(self._broker_url, longest=self._longest)
        again_after = AGAIN_AFTER if messages(celery) else UNDER_WAY
        while not self.stopping() and (waiting := self._untold(now, again_after=again_after)):
            publish(celery, analysis_ids=waiting)
            with self._database.writing() as session:
                leases.mark_dispatched(session, analysis_ids=waiting, now=now)
            event("analyses.dispatched", count=len(waiting))

    def _untold(self, now: datetime, *, again_after: timedelta) -> Sequence[uuid.UUID]:
        with self._database.reading() as session:
            return leases.undispatched(session, now=now, again_after=again_after, limit=BATCH)

    def closed(self) -> None:
        """Nothing is held between steps."""
