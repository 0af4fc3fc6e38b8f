"""Tells Celery of queued analyses; used when REDIS_URL is set.

The row is committed first and the broker told afterwards, by this thread, which notes it in the
row. A crash or a broken broker in between loses nothing: the row is still there to be told of. A
message told twice does no harm: the claim decides (`app.services.analyses`).
"""

from datetime import timedelta

from app.background import BackgroundThread
from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import analyses
from app.services.queue import WorkerState

INTERVAL_S = 5.0
BATCH = 100
# A broker that lost its memory is told again after this long.
AGAIN_AFTER = timedelta(minutes=15)
PING_TIMEOUT_S = 1.0


class CeleryDispatcher(BackgroundThread):
    """Publishes ids of queued analyses; implements AnalysisQueue."""

    def __init__(self, *, broker_url: str, database: Database) -> None:
        """Prepare; nothing is connected before `start`."""
        super().__init__(name="celery-dispatcher", interval=INTERVAL_S)
        self._broker_url = broker_url
        self._database = database

    def state(self) -> WorkerState:
        """Ask the broker whether it is there."""
        import redis

        if not self.alive():
            return WorkerState.STOPPED
        # Celery calls a socket redis+socket://, redis-py unix://.
        url = self._broker_url.replace("redis+socket://", "unix://", 1)
        try:
            client = redis.Redis.from_url(
                url, socket_timeout=PING_TIMEOUT_S, socket_connect_timeout=PING_TIMEOUT_S
            )
            with client:
                client.ping()
        except (redis.RedisError, OSError):
            return WorkerState.UNREACHABLE
        return WorkerState.CELERY

    def step(self) -> None:
        """Publish what has not been published."""
        from app.celery_app import make_celery, publish

        while not self.stopping():
            now = utc_now()
            with self._database.reading() as session:
                waiting = analyses.undispatched(
                    session, now=now, again_after=AGAIN_AFTER, limit=BATCH
                )
            if not waiting:
                return
            publish(make_celery(self._broker_url), analysis_ids=waiting)
            with self._database.writing() as session:
                analyses.mark_dispatched(session, analysis_ids=waiting, now=now)
            event("analyses.dispatched", count=len(waiting))

    def closed(self) -> None:
        """Nothing is held between steps."""
