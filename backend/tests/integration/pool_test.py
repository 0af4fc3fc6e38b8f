"""The process pool of the Celery worker, without a worker around it."""

import time
from collections.abc import Iterator

import pytest
from celery import Celery
from kombu.asynchronous import Hub, set_event_loop

from app.worker.pool import TaskPool


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(None)


def test_pool_stops_at_once_although_a_process_has_a_result_that_nobody_reads(hub: Hub) -> None:
    celery = Celery("test", set_as_current=False)
    initargs = (celery, "test@localhost")
    pool = TaskPool(1, app=celery, threads=False, putlocks=False, initargs=initargs)
    pool.start()
    pool.register_with_event_loop(hub)
    deadline = time.monotonic() + 30
    while not pool._pool._fileno_to_inq and time.monotonic() < deadline:
        hub.run_once()  # until the process has started
    done = pool.apply_async(time.sleep, (0.1,))
    unread = pool.apply_async(time.sleep, (0.2,))
    while unread._write_to is None and time.monotonic() < deadline:
        hub.run_once()  # until the second task is in the pipe to the process
    assert done.ready()
    assert not unread.accepted()
    # What a worker does on SIGTERM.
    pool.close()
    pool.flush()
    began = time.monotonic()
    pool.stop()
    assert time.monotonic() - began < 10  # Celery's own pool: 31 s
