"""How this service uses Celery, seen from both ends: the task's name and the configuration."""

import uuid
from collections.abc import Sequence
from functools import lru_cache

from celery import Celery

QUEUE = "analyses"
TASK = "analysis.run"
# An unacknowledged message comes back after this long, so it must exceed the longest analysis; a
# dead worker is noticed earlier, by its lease.
VISIBILITY_TIMEOUT_S = 6 * 3600
PUBLISH_TIMEOUT_S = 5


@lru_cache(maxsize=1)
def make_celery(broker_url: str) -> Celery:
    """Build the Celery application. Results stay in our own database, so there is no backend."""
    celery = Celery("backend", broker=broker_url, set_as_current=False)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_ignore_result=True,
        # A task is acknowledged when done, and given back when its process is killed.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # An analysis is long: one in hand, none in reserve.
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_connect_timeout": PUBLISH_TIMEOUT_S,
            "socket_timeout": PUBLISH_TIMEOUT_S,
        },
    )
    return celery


def publish(celery: Celery, *, analysis_ids: Sequence[uuid.UUID]) -> None:
    """Send one message per id. Raises kombu's OperationalError when the broker is not there."""
    with celery.connection_for_write() as connection:
        for analysis_id in analysis_ids:
            celery.send_task(
                TASK, args=[str(analysis_id)], connection=connection, retry=False, queue=QUEUE
            )
