"""The message broker as both ends see it: task name, Celery configuration, publishing, probing."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Connection

from app.settings import AMQP_SCHEMES

QUEUE = "analyses"
TASK = "analysis.run"
# Time a task may take on top of its analysis timeout: start-up, storing results, waiting for a
# database that is down.
MARGIN_S = 600
PUBLISH_TIMEOUT_S = 5
NOT_FOUND = "404"  # AMQP reply code


@lru_cache(maxsize=1)
def make_celery(broker_url: str, *, analysis_timeout: float) -> Celery:
    """Build the Celery application; `analysis_timeout` is in seconds.

    There is no result backend: results are stored in the service's own database.
    """
    celery = Celery("backend", broker=broker_url, set_as_current=False)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_ignore_result=True,
        # Acknowledge a task when it is done; requeue it when its process is killed.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # The lease and the analysis timeout fire first; this ends a process stuck in C code.
        task_time_limit=analysis_timeout + MARGIN_S,
        # Analyses are long, so reserve only the one being run.
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=PUBLISH_TIMEOUT_S,
        broker_transport_options=_transport_options(broker_url, analysis_timeout=analysis_timeout),
    )
    return celery


def _transport_options(broker_url: str, *, analysis_timeout: float) -> dict[str, Any]:
    if broker_url.partition("://")[0] in AMQP_SCHEMES:
        # Publisher confirms; without them a message the broker never stored counts as sent.
        return {"confirm_publish": True}
    return {
        # Redis redelivers an unacknowledged message after this long, so it must exceed the longest
        # task. A dead worker is detected earlier, by its lease.
        "visibility_timeout": int(2 * (analysis_timeout + MARGIN_S)),
        "socket_connect_timeout": PUBLISH_TIMEOUT_S,
        "socket_timeout": PUBLISH_TIMEOUT_S,
    }


@contextmanager
def _answering(connection: Connection) -> Iterator[Connection]:
    """Connect; let every wait for the broker end after PUBLISH_TIMEOUT_S.

    Raise kombu's OperationalError if that fails.
    """
    try:
        connection.ensure_connection(max_retries=1)
        # kombu sets a timeout for Redis, but for RabbitMQ only while connecting.
        sock = getattr(connection.connection, "sock", None)
        if sock is not None:
            sock.settimeout(PUBLISH_TIMEOUT_S)
        yield connection
    except BaseException:
        connection.collect()  # an orderly end would wait for the broker again
        raise
    connection.release()


def publish(celery: Celery, *, analysis_ids: Iterable[uuid.UUID]) -> None:
    """Send one message per id.

    Raise kombu's OperationalError if the broker is unreachable, TimeoutError if it does not answer.
    """
    with _answering(celery.connection_for_write()) as connection:
        for analysis_id in analysis_ids:
            celery.send_task(
                TASK, args=[str(analysis_id)], connection=connection, retry=False, queue=QUEUE
            )


def queue_length(celery: Celery) -> int:
    """Return the number of messages waiting for a worker. Raise as `publish` does."""
    with _answering(celery.connection_for_read()) as connection:
        channel: Any = connection.default_channel
        try:
            declared = channel.queue_declare(queue=QUEUE, passive=True)
        except connection.channel_errors as error:
            if str(getattr(error, "reply_code", None)) == NOT_FOUND:
                return 0  # Redis does not keep empty queues, and a new RabbitMQ has none
            raise
    return int(declared.message_count)


def is_reachable(broker_url: str, *, timeout: float) -> bool:
    """Return whether the broker responds within about `timeout` seconds."""
    options: dict[str, Any] = {}
    if broker_url.partition("://")[0] not in AMQP_SCHEMES:
        options = {"socket_connect_timeout": timeout, "socket_timeout": timeout}
    with Connection(broker_url, connect_timeout=timeout, transport_options=options) as connection:
        try:
            connection.connect()
            # kombu contacts Redis only once a channel needs it, so ping explicitly.
            client = getattr(connection.default_channel, "client", None)
            if client is not None:
                client.ping()
        except Exception as error:
            expected = (*connection.connection_errors, *connection.channel_errors, OSError)
            if isinstance(error, expected):
                return False
            raise
    return True
