"""How this service uses Celery, seen from both ends: the task's name and the configuration."""

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from celery import Celery

from app.settings import AMQP_SCHEMES

QUEUE = "analyses"
TASK = "analysis.run"
# What a task may take beyond the time its analysis is allowed: starting, storing, waiting for a
# database that is away.
MARGIN_S = 600
PUBLISH_TIMEOUT_S = 5
NOT_FOUND = "404"  # of AMQP's reply codes


@lru_cache(maxsize=1)
def make_celery(broker_url: str, *, longest: float) -> Celery:
    """Build the Celery application; `longest` is how long an analysis may take (seconds).

    Results stay in our own database, so there is no backend.
    """
    celery = Celery("backend", broker=broker_url, set_as_current=False)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_ignore_result=True,
        # A task is acknowledged when done, and given back when its process is killed.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # The lease and the analysis's own limit act first; this ends a process that hangs in C.
        task_time_limit=longest + MARGIN_S,
        # An analysis is long: one in hand, none in reserve.
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=PUBLISH_TIMEOUT_S,
        broker_transport_options=_transport_options(broker_url, longest=longest),
    )
    return celery


def _transport_options(broker_url: str, *, longest: float) -> dict[str, Any]:
    if broker_url.partition("://")[0] in AMQP_SCHEMES:
        # RabbitMQ says when it has a message; without asking, one sent into a void counts as sent.
        return {"confirm_publish": True}
    return {
        # Redis hands an unacknowledged message out again after this long, so it must exceed the
        # longest task; a dead worker is noticed earlier, by its lease.
        "visibility_timeout": int(2 * (longest + MARGIN_S)),
        "socket_connect_timeout": PUBLISH_TIMEOUT_S,
        "socket_timeout": PUBLISH_TIMEOUT_S,
    }


def publish(celery: Celery, *, analysis_ids: Sequence[uuid.UUID]) -> None:
    """Send one message per id. Raises kombu's OperationalError when the broker is not there."""
    with celery.connection_for_write() as connection:
        for analysis_id in analysis_ids:
            celery.send_task(
                TASK, args=[str(analysis_id)], connection=connection, retry=False, queue=QUEUE
            )


def messages(celery: Celery) -> int:
    """Return how many messages wait for a worker. Raises as `publish` does."""
    with celery.connection_for_read() as connection:
        channel: Any = connection.default_channel
        try:
            found = channel.queue_declare(queue=QUEUE, passive=True)
        except connection.channel_errors as error:
            if str(getattr(error, "reply_code", None)) == NOT_FOUND:
                return 0  # Redis has no empty queues, a new RabbitMQ none at all
            raise
    return int(found.message_count)


def answers(broker_url: str, *, timeout: float) -> bool:
    """Tell whether the broker is there, within about `timeout` seconds."""
    from kombu import Connection

    options: dict[str, Any] = {}
    if broker_url.partition("://")[0] not in AMQP_SCHEMES:
        options = {"socket_connect_timeout": timeout, "socket_timeout": timeout}
    with Connection(broker_url, connect_timeout=timeout, transport_options=options) as connection:
        try:
            connection.connect()
            # Redis is only talked to once a channel needs something of it.
            client = getattr(connection.default_channel, "client", None)
            if client is not None:
                client.ping()
        except Exception as error:
            known = (*connection.connection_errors, *connection.channel_errors, OSError)
            if isinstance(error, known):
                return False
            raise
    return True
