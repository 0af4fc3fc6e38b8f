"""What the broker is told of, and when again; with a real Redis, and no worker that takes it."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from tests.support import rows
from tests.support.servers import Redis

from app.worker.broker import make_celery, messages
from app.db import Database
from app.worker.dispatch import AGAIN_AFTER, UNDER_WAY, CeleryDispatcher
from app.models.base import utc_now
from app.services import analyses, leases
from app.video import Parameters

LONGEST = 60.0


@pytest.fixture
def redis(tmp_path: Path) -> Redis:
    return Redis(tmp_path)


@pytest.fixture
def dispatcher(database: Database, redis: Redis) -> Iterator[CeleryDispatcher]:
    make_celery.cache_clear()  # each test has a broker of its own
    yield CeleryDispatcher(broker_url=redis.url, database=database, longest=LONGEST)
    make_celery.cache_clear()


@pytest.fixture
def analysis_id(database: Database) -> uuid.UUID:
    video_id = rows.video(database)
    with database.writing() as session:
        analysis, _ = analyses.request(session, video_id=video_id, parameters=Parameters())
        return analysis.id


def told(database: Database, analysis_id: uuid.UUID, *, at: datetime) -> None:
    with database.writing() as session:
        leases.mark_dispatched(session, analysis_ids=[analysis_id], now=at)


def waiting(redis: Redis) -> int:
    return messages(make_celery(redis.url, longest=LONGEST))


def test_a_broker_that_remembers_is_told_once(
    database: Database, redis: Redis, dispatcher: CeleryDispatcher, analysis_id: uuid.UUID
) -> None:
    with redis.running():
        assert waiting(redis) == 0
        dispatcher.step()
        assert waiting(redis) == 1
        told(database, analysis_id, at=utc_now() - UNDER_WAY - timedelta(seconds=1))
        dispatcher.step()
        assert waiting(redis) == 1
        told(database, analysis_id, at=utc_now() - AGAIN_AFTER - timedelta(seconds=1))
        dispatcher.step()
        assert waiting(redis) == 2


def test_a_broker_that_forgot_is_told_again_unless_the_message_may_be_under_way(
    database: Database, redis: Redis, dispatcher: CeleryDispatcher, analysis_id: uuid.UUID
) -> None:
    with redis.running():
        dispatcher.step()
    with redis.running():
        told(database, analysis_id, at=utc_now())
        dispatcher.step()
        assert waiting(redis) == 0
        told(database, analysis_id, at=utc_now() - UNDER_WAY - timedelta(seconds=1))
        dispatcher.step()
        dispatcher.step()
        assert waiting(redis) == 1


def test_a_broker_that_is_away_is_asked_only_when_something_waits(
    database: Database, redis: Redis, dispatcher: CeleryDispatcher, analysis_id: uuid.UUID
) -> None:
    told(database, analysis_id, at=utc_now())
    dispatcher.step()
    told(database, analysis_id, at=utc_now() - UNDER_WAY - timedelta(seconds=1))
    with pytest.raises(OperationalError):
        dispatcher.step()
