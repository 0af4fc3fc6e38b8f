"""Dispatching analyses to a real Redis, without a worker that consumes the messages."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from tests.support import rows
from tests.support.servers import Redis

from app.db import Database
from app.models.base import utc_now
from app.services import analyses, leases
from app.video import Parameters
from app.worker.broker import make_celery, queue_length
from app.worker.dispatch import IN_FLIGHT, REDISPATCH_AFTER, CeleryDispatcher

ANALYSIS_TIMEOUT_S = 60.0


@pytest.fixture
def redis(tmp_path: Path) -> Redis:
    return Redis(tmp_path)


@pytest.fixture
def dispatcher(database: Database, redis: Redis) -> Iterator[CeleryDispatcher]:
    make_celery.cache_clear()  # each test has its own broker
    yield CeleryDispatcher(
        broker_url=redis.url, database=database, analysis_timeout=ANALYSIS_TIMEOUT_S
    )
    make_celery.cache_clear()


@pytest.fixture
def analysis_id(database: Database) -> uuid.UUID:
    video_id = rows.video(database)
    with database.writing() as session:
        analysis, _ = analyses.request(session, video_id=video_id, parameters=Parameters())
        return analysis.id


def set_dispatched(database: Database, analysis_id: uuid.UUID, *, at: datetime) -> None:
    with database.writing() as session:
        leases.mark_dispatched(session, analysis_ids=[analysis_id], now=at)


def queued(redis: Redis) -> int:
    return queue_length(make_celery(redis.url, analysis_timeout=ANALYSIS_TIMEOUT_S))


def test_analysis_is_published_once_to_a_broker_that_keeps_its_queue(
    database: Database, redis: Redis, dispatcher: CeleryDispatcher, analysis_id: uuid.UUID
) -> None:
    with redis.running():
        assert queued(redis) == 0
        dispatcher.step()
        assert queued(redis) == 1
        set_dispatched(database, analysis_id, at=utc_now() - IN_FLIGHT - timedelta(seconds=1))
        dispatcher.step()
        assert queued(redis) == 1
        set_dispatched(
            database, analysis_id, at=utc_now() - REDISPATCH_AFTER - timedelta(seconds=1)
        )
        dispatcher.step()
        assert queued(redis) == 2


def test_lost_message_is_republished_unless_it_may_be_in_flight(
    database: Database, redis: Redis, dispatcher: CeleryDispatcher, analysis_id: uuid.UUID
) -> None:
    with redis.running():
        dispatcher.step()
    with redis.running():
        set_dispatched(database, analysis_id, at=utc_now())
        dispatcher.step()
        assert queued(redis) == 0
        set_dispatched(database, analysis_id, at=utc_now() - IN_FLIGHT - timedelta(seconds=1))
        dispatcher.step()
        dispatcher.step()
        assert queued(redis) == 1


def test_broker_is_contacted_only_when_an_analysis_is_queued(
    database: Database, redis: Redis, dispatcher: CeleryDispatcher, analysis_id: uuid.UUID
) -> None:
    set_dispatched(database, analysis_id, at=utc_now())
    dispatcher.step()
    set_dispatched(database, analysis_id, at=utc_now() - IN_FLIGHT - timedelta(seconds=1))
    with pytest.raises(OperationalError):
        dispatcher.step()
