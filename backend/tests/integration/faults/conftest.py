"""Brokers that the tests of failures kill, freeze and restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.rabbitmq import Broker, rabbitmq
from tests.support.servers import Redis


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker | Redis]:
    """Return a broker that is not running yet, of each kind: one persists its queues."""
    if request.param == "redis":
        yield Redis(tmp_path)
    else:
        with rabbitmq() as broker:
            yield broker
