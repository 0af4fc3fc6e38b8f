"""Use cases for webhooks: create, list, change, rotate the secret, delete."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import (
    ConflictError,
    ForbiddenImportError,
    ForbiddenWebhookError,
    WebhookNotFoundError,
)
from app.models import Webhook, WebhookDelivery, WebhookStatus
from app.models.base import new_id
from app.services import deliveries
from app.services.fetch import FetchRules, check
from app.services.outbox import EventType
from app.services.signing import SigningKey, hash_of

MAX_WEBHOOKS = 20
"""Each has a thread while something is sent to it, so none ever waits for another."""


@dataclass(frozen=True)
class NewSecret:
    """A webhook and the only copy of its new secret."""

    webhook: Webhook
    secret: str


def check_url(url: str, *, rules: FetchRules) -> None:
    """Raise ForbiddenWebhookError if nothing may be sent to this URL; look its name up."""
    try:
        check(url, rules=rules)
    except ForbiddenImportError as error:
        raise ForbiddenWebhookError(str(error)) from None


def create(
    session: Session, *, url: str, events: Sequence[EventType], key: SigningKey
) -> NewSecret:
    """Create a webhook. Raise ConflictError if there are too many."""
    if (session.scalar(select(func.count()).select_from(Webhook)) or 0) >= MAX_WEBHOOKS:
        raise ConflictError(f"There are {MAX_WEBHOOKS} webhooks already; delete one first.")
    webhook_id = new_id()
    secret = key.new_secret(webhook_id, version=1)
    webhook = Webhook(
        id=webhook_id, url=url, events=_stored(events), secret_version=1,
        secret_hash=hash_of(secret),
    )  # fmt: skip
    session.add(webhook)
    session.flush()
    return NewSecret(webhook, secret)


def _stored(events: Sequence[EventType]) -> list[str]:
    return [event.value for event in EventType if event in events]


def list_all(session: Session) -> Sequence[Webhook]:
    """Return all webhooks, oldest first."""
    return session.scalars(select(Webhook).order_by(Webhook.id)).all()


def get(session: Session, *, webhook_id: uuid.UUID) -> Webhook:
    """Return a webhook. Raise WebhookNotFoundError if it does not exist."""
    webhook = session.get(Webhook, webhook_id)
    if webhook is None:
        raise WebhookNotFoundError(f"Webhook {webhook_id} does not exist.")
    return webhook


def change(
    session: Session,
    *,
    webhook_id: uuid.UUID,
    url: str | None,
    events: Sequence[EventType] | None,
    enabled: bool | None,
    now: datetime,
) -> Webhook:
    """Change what is not None. Enabling sends all that is pending. Raise WebhookNotFoundError."""
    webhook = get(session, webhook_id=webhook_id)
    if url is not None:
        webhook.url = url
    if events is not None:
        webhook.events = _stored(events)
    if enabled and webhook.status is not WebhookStatus.ACTIVE:
        webhook.status = WebhookStatus.ACTIVE
        webhook.reason = webhook.failing_since = webhook.hold_until = None
        deliveries.resume(session, webhook_id=webhook_id, now=now)
    elif enabled is False:
        webhook.status, webhook.reason = WebhookStatus.DISABLED, None
    session.flush()
    return webhook


def rotate(
    session: Session, *, webhook_id: uuid.UUID, key: SigningKey, overlap: timedelta, now: datetime
) -> NewSecret:
    """Replace the secret; sign with the previous one, too, for `overlap`.

    Raise WebhookNotFoundError.
    """
    webhook = get(session, webhook_id=webhook_id)
    secret = key.new_secret(webhook_id, version=webhook.secret_version + 1)
    webhook.secret_version += 1
    webhook.secret_hash = hash_of(secret)
    webhook.previous_until = now + overlap if overlap else None
    session.flush()
    return NewSecret(webhook, secret)


def delete(session: Session, *, webhook_id: uuid.UUID) -> None:
    """Delete a webhook and its deliveries. Raise WebhookNotFoundError if it does not exist."""
    session.delete(get(session, webhook_id=webhook_id))
    session.execute(delete_rows(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id))
    session.flush()
