"""Send messages to webhooks, in a thread for each that something is to be sent to.

Every API process does so, with a broker or without one: the rows are the queue, and the lease of a
webhook's row decides who sends to it (`app.services.deliveries`). Workers that run analyses only
write rows, so no analysis waits for an endpoint.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.logs import event
from app.models.base import utc_now
from app.services import deliveries
from app.services.deliveries import Attempt, Message
from app.services.sending import Sender
from app.worker.background import BackgroundThread

INTERVAL_S = 2.0
# How much longer a lease is than an attempt may take: for the database, before and after it.
LEASE_MARGIN = timedelta(seconds=5)
# How long attempts may go on at a stop. They are repeated after the lease.
STOP_WAIT_S = 2.0


class Deliverer(BackgroundThread):
    """Look for webhooks to which something is to be sent, and start their threads."""

    def __init__(
        self, *, database: Database, sender: Sender, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """Prepare; touch nothing before `start`."""
        super().__init__(name="deliverer", interval=INTERVAL_S)
        self.sender = sender
        self._database = database
        self._clock = clock
        self._lease = timedelta(seconds=sender.rules.timeout) + LEASE_MARGIN
        self._lanes: dict[uuid.UUID, threading.Thread] = {}

    def step(self) -> None:
        """Start a thread for each webhook that waits and has none."""
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.is_alive()}
        with self._database.reading() as session:
            found = deliveries.due(session, now=self._clock())
        for webhook_id in found:
            if webhook_id not in self._lanes:
                lane = threading.Thread(
                    target=self._run, args=(webhook_id,), name="webhook", daemon=True
                )
                self._lanes[webhook_id] = lane
                lane.start()

    def close(self) -> None:
        """Wait a moment for attempts to end."""
        self.wait(STOP_WAIT_S)

    def wait(self, seconds: float) -> None:
        """Wait until nothing is being sent any more, or for `seconds`."""
        end = time.monotonic() + seconds
        for lane in self._lanes.values():
            lane.join(max(0.0, end - time.monotonic()))

    def _run(self, webhook_id: uuid.UUID) -> None:
        """Send all that is due to one webhook, one after the other."""
        owner = uuid.uuid4()
        try:
            while not self.stopping():
                began = time.monotonic()
                message = self._claim(webhook_id, owner)
                if message is None:
                    return
                # Otherwise this process was suspended, and the lease may end while it sends.
                if time.monotonic() - began < LEASE_MARGIN.total_seconds():
                    self._send(message)
            with self._database.writing() as session:
                deliveries.release(session, webhook_id=webhook_id, owner=owner)
        except SQLAlchemyError as error:
            # The message is sent again after the lease.
            event(
                "delivery.database_failed",
                level=logging.WARNING,
                webhook_id=webhook_id,
                cause=type(error).__name__,
            )
        except Exception:  # noqa: BLE001 - logged, and tried again after the lease
            event("delivery.crashed", level=logging.ERROR, exc_info=True, webhook_id=webhook_id)

    def _claim(self, webhook_id: uuid.UUID, owner: uuid.UUID) -> Message | None:
        with self._database.writing() as session:
            return deliveries.claim(
                session, webhook_id=webhook_id, owner=owner, now=self._clock(), lease=self._lease
            )

    def _send(self, message: Message) -> None:
        attempt = self.sender.send(message, now=self._clock())
        with self._database.writing() as session:
            paused = deliveries.finish(session, message=message, attempt=attempt, now=self._clock())
        _log(message, attempt)
        if paused is not None:
            event(
                "webhook.paused",
                level=logging.WARNING,
                webhook_id=message.webhook_id,
                reason=paused,
            )


def _log(message: Message, attempt: Attempt) -> None:
    """Log an attempt, without the URL, which may hold a secret."""
    delivered = attempt.error is None
    event(
        "delivery.done" if delivered else "delivery.failed",
        level=logging.INFO if delivered else logging.WARNING,
        webhook_id=message.webhook_id,
        delivery_id=message.delivery_id,
        attempt=message.attempt,
        status=attempt.status,
        seconds=round(attempt.seconds, 3),
        cause=attempt.error,
    )
