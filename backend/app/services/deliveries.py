"""The life cycle of a delivery: pending, tried under the lease of its webhook, delivered or failed.

One process at a time sends to a webhook, and one message at a time: the oldest that is due. A
message that fails waits for longer each time while others are sent, and fails for good after
MAX_ATTEMPTS. What was being sent by a process that has died is sent again after the lease, with the
same id.
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, CursorResult, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from app.errors import ConflictError, WebhookNotFoundError
from app.models import DeliveryStatus, Webhook, WebhookDelivery, WebhookStatus
from app.services import outbox
from app.services.leases import update_one
from app.services.paging import Order, Page

# Between the attempts; nearly two days and a half in all.
BACKOFF = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 60, 300, 1800, 7200, 18_000, 36_000, 64_800, 79_200)
)
MAX_ATTEMPTS = len(BACKOFF) + 1
JITTER = 0.2
"""Share by which each of them is shorter or longer, at random."""
MAX_HOLD = timedelta(minutes=1)
"""After a failure, nothing is sent to the webhook for as long as the message waits, or for this."""
MAX_RETRY_AFTER = timedelta(days=1)
PAUSE_AFTER = timedelta(days=3)
"""A webhook to which nothing could be delivered for so long is paused."""
KEEP = timedelta(days=30)
MAX_ROWS = 10_000
"""Of one webhook; the oldest are deleted."""


@dataclass(frozen=True)
class Message:
    """A message to send now, and the right to send it."""

    id: str
    """What tells repeats: the same for each attempt."""
    delivery_id: uuid.UUID
    webhook_id: uuid.UUID
    owner: uuid.UUID
    attempt: int
    url: str
    body: bytes
    secret_version: int
    secret_hash: str
    previous: bool
    """Whether to sign with the previous secret, too."""


@dataclass(frozen=True)
class Attempt:
    """How sending a message ended."""

    seconds: float
    status: int | None = None
    """Of the response; None without one."""
    error: str | None = None
    """Why it failed, for users; None for a success."""
    retry_after: timedelta = timedelta(0)
    pause: str | None = None
    """Why nothing more is to be sent to the webhook, for users."""


def due(session: Session, *, now: datetime) -> Sequence[uuid.UUID]:
    """Return the webhooks to which something is to be sent now, and nobody is sending."""
    waiting = exists().where(_due(now), WebhookDelivery.webhook_id == Webhook.id)
    query = select(Webhook.id).where(_open(now), _free(now), waiting).order_by(Webhook.id)
    return session.scalars(query).all()


def _open(now: datetime) -> ColumnElement[bool]:
    held = and_(Webhook.hold_until.is_not(None), Webhook.hold_until > now)
    return and_(Webhook.status == WebhookStatus.ACTIVE, ~held)


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(Webhook.lease_until.is_(None), Webhook.lease_until < now)


def _due(now: datetime) -> ColumnElement[bool]:
    return and_(
        WebhookDelivery.status == DeliveryStatus.PENDING, WebhookDelivery.next_attempt_at <= now
    )


def claim(
    session: Session, *, webhook_id: uuid.UUID, owner: uuid.UUID, now: datetime, lease: timedelta
) -> Message | None:
    """Take or extend the lease of a webhook; return the next message to send to it.

    Return None, and end the lease, if there is none, or somebody else has the lease.
    """
    take = update(Webhook).where(
        Webhook.id == webhook_id, _open(now), or_(_free(now), Webhook.lease_owner == owner)
    )
    if not update_one(session, take.values(lease_owner=owner, lease_until=now + lease)):
        release(session, webhook_id=webhook_id, owner=owner)
        return None
    given_up = update(WebhookDelivery).where(
        _due(now),
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.attempts >= MAX_ATTEMPTS,
    )
    update_one(
        session,
        given_up.values(
            status=DeliveryStatus.FAILED,
            next_attempt_at=None,
            error="The service died in the last attempt.",
        ),
    )
    next_due = (
        select(WebhookDelivery.id)
        .where(_due(now), WebhookDelivery.webhook_id == webhook_id)
        .order_by(WebhookDelivery.id)
        .limit(1)
    )
    delivery_id = session.scalar(next_due)
    if delivery_id is None:
        release(session, webhook_id=webhook_id, owner=owner)
        return None
    begin = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .values(
            attempts=WebhookDelivery.attempts + 1,
            attempted_at=now,
            response_status=None,
            response_time=None,
            error=None,
        )
    )
    session.execute(begin.execution_options(synchronize_session=False))
    delivery = session.get_one(WebhookDelivery, delivery_id)
    webhook = session.get_one(Webhook, webhook_id)
    return Message(
        id=delivery.message_id,
        delivery_id=delivery_id,
        webhook_id=webhook_id,
        owner=owner,
        attempt=delivery.attempts,
        url=webhook.url,
        body=delivery.body.encode(),
        secret_version=webhook.secret_version,
        secret_hash=webhook.secret_hash,
        previous=webhook.previous_until is not None and webhook.previous_until > now,
    )


def release(session: Session, *, webhook_id: uuid.UUID, owner: uuid.UUID) -> None:
    """End the lease, if it is still this owner's."""
    statement = update(Webhook).where(Webhook.id == webhook_id, Webhook.lease_owner == owner)
    update_one(session, statement.values(lease_owner=None, lease_until=None))


def finish(session: Session, *, message: Message, attempt: Attempt, now: datetime) -> str | None:
    """Record how an attempt ended; return why the webhook is paused now, if it is.

    Without the lease nothing is recorded: somebody else sends the message again.
    """
    webhook = session.scalar(
        select(Webhook)
        .where(Webhook.id == message.webhook_id, Webhook.lease_owner == message.owner)
        .with_for_update()
    )
    if webhook is None:
        return None
    values = {"response_status": attempt.status, "response_time": attempt.seconds}
    if attempt.error is None:
        webhook.failing_since = webhook.hold_until = None
        _update(session, message, **values, status=DeliveryStatus.DELIVERED, next_attempt_at=None)
        return None
    webhook.failing_since = webhook.failing_since or now
    wait = max(_backoff(message.attempt), min(attempt.retry_after, MAX_RETRY_AFTER))
    webhook.hold_until = now + max(min(wait, MAX_HOLD), min(attempt.retry_after, MAX_RETRY_AFTER))
    last = message.attempt >= MAX_ATTEMPTS
    _update(
        session,
        message,
        **values,
        error=attempt.error,
        status=DeliveryStatus.FAILED if last else DeliveryStatus.PENDING,
        next_attempt_at=None if last else now + wait,
    )
    reason = attempt.pause
    if reason is None and now - webhook.failing_since >= PAUSE_AFTER:
        reason = f"Nothing could be delivered since {webhook.failing_since:%Y-%m-%d %H:%M} UTC."
    # A user may have disabled it meanwhile.
    if reason is not None and webhook.status is WebhookStatus.ACTIVE:
        webhook.status, webhook.reason = WebhookStatus.PAUSED, reason
        return reason
    return None


def _backoff(attempt: int) -> timedelta:
    wait = BACKOFF[min(attempt, len(BACKOFF)) - 1]
    return wait * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret


def _update(session: Session, message: Message, **values: object) -> None:
    # Its attempts are others if a user has asked to send it again meanwhile.
    statement = update(WebhookDelivery).where(
        WebhookDelivery.id == message.delivery_id, WebhookDelivery.attempts == message.attempt
    )
    update_one(session, statement.values(**values))


def page(
    session: Session,
    *,
    webhook_id: uuid.UUID,
    status: Sequence[DeliveryStatus],
    limit: int,
    after: str | None,
) -> Page[WebhookDelivery]:
    """Return up to `limit` deliveries of a webhook after the cursor `after`, newest first.

    Raise InvalidCursorError if the cursor is not one of this list.
    """
    order = Order("deliveries", id=WebhookDelivery.id.expression, descending=True)
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    if status:
        query = query.where(WebhookDelivery.status.in_(status))
    rows = session.scalars(order.apply(query, after=after, limit=limit)).all()
    return order.page(list(rows), limit=limit, position=lambda delivery: (None, delivery.id))


def get(session: Session, *, webhook_id: uuid.UUID, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Return a delivery. Raise WebhookNotFoundError if the webhook has none with this id."""
    delivery = session.get(WebhookDelivery, delivery_id)
    if delivery is None or delivery.webhook_id != webhook_id:
        raise WebhookNotFoundError(f"Webhook {webhook_id} has no delivery {delivery_id}.")
    return delivery


def test(session: Session, *, webhook: Webhook, now: datetime) -> WebhookDelivery:
    """Write a test message, to send now. Raise ConflictError unless the webhook is active."""
    _send_now(session, webhook)
    return outbox.test(session, webhook_id=webhook.id, now=now)


def send_again(
    session: Session, *, webhook: Webhook, delivery_id: uuid.UUID, now: datetime
) -> WebhookDelivery:
    """Send a delivery again now, with the same id, whether or not it was delivered.

    Raise WebhookNotFoundError, or ConflictError unless the webhook is active.
    """
    delivery = get(session, webhook_id=webhook.id, delivery_id=delivery_id)
    _send_now(session, webhook)
    if delivery.status is not DeliveryStatus.PENDING:
        delivery.status, delivery.attempts = DeliveryStatus.PENDING, 0
    delivery.next_attempt_at = now
    session.flush()
    return delivery


def _send_now(session: Session, webhook: Webhook) -> None:
    if webhook.status is not WebhookStatus.ACTIVE:
        raise ConflictError(f"Webhook {webhook.id} is {webhook.status.value}; enable it first.")
    webhook.hold_until = None
    session.flush()  # rows are locked in the order that `claim` locks them in


def resume(session: Session, *, webhook_id: uuid.UUID, now: datetime) -> None:
    """Let all pending messages of a webhook that has been enabled be sent now."""
    statement = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.webhook_id == webhook_id,
            WebhookDelivery.status == DeliveryStatus.PENDING,
        )
        .values(next_attempt_at=now)
    )
    session.execute(statement.execution_options(synchronize_session=False))


def any_kept(session: Session) -> bool:
    """Return whether there is any delivery."""
    return session.scalar(select(WebhookDelivery.id).limit(1)) is not None


def prune(session: Session, *, now: datetime) -> int:
    """Delete old deliveries, those beyond MAX_ROWS, and those of deleted webhooks."""
    # One statement: a webhook that is created meanwhile is seen before its deliveries.
    deleted = _delete(session, WebhookDelivery.webhook_id.not_in(select(Webhook.id)))
    for webhook_id in session.scalars(select(Webhook.id)).all():
        own = WebhookDelivery.webhook_id == webhook_id
        newest = select(WebhookDelivery.id).where(own).order_by(WebhookDelivery.id.desc())
        beyond = session.scalar(newest.offset(MAX_ROWS).limit(1))
        old = WebhookDelivery.created_at < now - KEEP
        wanted = old if beyond is None else or_(old, WebhookDelivery.id <= beyond)
        deleted += _delete(session, own, wanted)
    return deleted


def _delete(session: Session, *conditions: ColumnElement[bool]) -> int:
    statement = delete(WebhookDelivery).where(*conditions)
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)  # noqa: S101 - the result type of a DELETE
    return result.rowcount
