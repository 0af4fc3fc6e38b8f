"""`/api/v1/webhooks`: manage webhooks and look at what was delivered; only with WEBHOOK_HOSTS."""

import uuid
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.auth import ADMIN
from app.api.deps import Context, ContextDep
from app.api.openapi import links
from app.api.problems import documented
from app.api.webhook_schemas import (
    DeliveryDetailOut,
    DeliveryOut,
    DeliveryPageOut,
    NewWebhookOut,
    RotationIn,
    WebhookChangeIn,
    WebhookIn,
    WebhookListOut,
    WebhookOut,
)
from app.logs import event
from app.models import DeliveryStatus
from app.models.base import utc_now
from app.services import deliveries, webhooks
from app.services.sending import Sender
from app.worker.deliverer import Deliverer

router = APIRouter(
    prefix="/api/v1/webhooks",
    tags=["webhooks"],
    dependencies=ADMIN,
    responses=documented(401, 403, 422, 503),
)
_LINKS = links("webhook_id", "read_webhook", "change_webhook", "delete_webhook", "test_webhook")


def _deliverer(context: Context) -> Deliverer:
    assert context.deliverer is not None  # noqa: S101 - otherwise these routes do not exist
    return context.deliverer


def _sender(context: Context) -> Sender:
    return _deliverer(context).sender


@router.post(
    "",
    status_code=201,
    responses={
        201: {"description": "Created.", "links": _LINKS},
        **documented(400, 408, 409, 413, 507),
    },
)
def create_webhook(context: ContextDep, wanted: WebhookIn) -> NewWebhookOut:
    """Create a webhook. The response has its secret, which is not shown again."""
    webhooks.check_url(wanted.url, rules=_sender(context).rules)
    with context.database.writing() as session:
        created = webhooks.create(
            session, url=wanted.url, events=wanted.events, key=_sender(context).key
        )
        reply = NewWebhookOut.from_new(created)
    event("webhook.created", webhook_id=reply.id)
    return reply


@router.get("")
def list_webhooks(context: ContextDep) -> WebhookListOut:
    """List all webhooks, oldest first."""
    with context.database.reading() as session:
        found = [WebhookOut.from_row(row) for row in webhooks.list_all(session)]
    return WebhookListOut(webhooks=found)


@router.get("/{webhook_id}", responses=documented(404))
def read_webhook(context: ContextDep, webhook_id: uuid.UUID) -> WebhookOut:
    """Get a webhook."""
    with context.database.reading() as session:
        return WebhookOut.from_row(webhooks.get(session, webhook_id=webhook_id))


@router.patch("/{webhook_id}", responses=documented(400, 404, 408, 413, 507))
def change_webhook(
    context: ContextDep, webhook_id: uuid.UUID, wanted: WebhookChangeIn
) -> WebhookOut:
    """Change the URL or the events, or enable or disable it.

    While it is disabled or paused, no messages are written for it. Enabling it sends those that
    were pending.
    """
    if wanted.url is not None:
        webhooks.check_url(wanted.url, rules=_sender(context).rules)
    with context.database.writing() as session:
        changed = webhooks.change(
            session,
            webhook_id=webhook_id,
            url=wanted.url,
            events=wanted.events,
            enabled=wanted.enabled,
            now=utc_now(),
        )
        reply = WebhookOut.from_row(changed)
    event("webhook.changed", webhook_id=webhook_id, status=reply.status)
    _deliverer(context).wake()
    return reply


@router.delete("/{webhook_id}", status_code=204, responses=documented(404, 507))
def delete_webhook(context: ContextDep, webhook_id: uuid.UUID) -> None:
    """Delete a webhook with its deliveries; what is pending is not sent."""
    with context.database.writing() as session:
        webhooks.delete(session, webhook_id=webhook_id)
    event("webhook.deleted", webhook_id=webhook_id)


@router.post("/{webhook_id}/secret", responses=documented(400, 404, 408, 413, 507))
def rotate_webhook_secret(
    context: ContextDep, webhook_id: uuid.UUID, wanted: RotationIn
) -> NewWebhookOut:
    """Replace the secret. The response has the new one, which is not shown again.

    For `overlap` seconds messages are signed with both, so receivers accept them before and after
    they get the new one.
    """
    with context.database.writing() as session:
        rotated = webhooks.rotate(
            session,
            webhook_id=webhook_id,
            key=_sender(context).key,
            overlap=timedelta(seconds=wanted.overlap),
            now=utc_now(),
        )
        reply = NewWebhookOut.from_new(rotated)
    event("webhook.secret_rotated", webhook_id=webhook_id)
    return reply


@router.post("/{webhook_id}/test", status_code=202, responses=documented(404, 409, 507))
def test_webhook(context: ContextDep, webhook_id: uuid.UUID) -> DeliveryOut:
    """Send a message of the type `webhook.test` now."""
    with context.database.writing() as session:
        webhook = webhooks.get(session, webhook_id=webhook_id)
        reply = DeliveryOut.from_row(deliveries.test(session, webhook=webhook, now=utc_now()))
    _deliverer(context).wake()
    return reply


@router.get("/{webhook_id}/deliveries", responses=documented(400, 404))
def list_deliveries(
    context: ContextDep,
    webhook_id: uuid.UUID,
    status: Annotated[
        list[DeliveryStatus], Query(description="Only deliveries with one of these statuses.")
    ] = [],  # noqa: B006 - FastAPI copies it
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(max_length=2000, description="`next_cursor` of the previous page.")
    ] = None,
) -> DeliveryPageOut:
    """List the deliveries of a webhook, newest first. They are kept for 30 days."""
    with context.database.reading() as session:
        webhooks.get(session, webhook_id=webhook_id)
        page = deliveries.page(
            session, webhook_id=webhook_id, status=status, limit=limit, after=cursor
        )
        return DeliveryPageOut(
            deliveries=[DeliveryOut.from_row(row) for row in page.items],
            next_cursor=page.next_cursor,
        )


@router.get("/{webhook_id}/deliveries/{delivery_id}", responses=documented(404))
def read_delivery(
    context: ContextDep, webhook_id: uuid.UUID, delivery_id: uuid.UUID
) -> DeliveryDetailOut:
    """Get a delivery with the body that is sent."""
    with context.database.reading() as session:
        found = deliveries.get(session, webhook_id=webhook_id, delivery_id=delivery_id)
        return DeliveryDetailOut.from_row(found)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=documented(404, 409, 507),
)
def redeliver(context: ContextDep, webhook_id: uuid.UUID, delivery_id: uuid.UUID) -> DeliveryOut:
    """Send a delivery again now, whatever its status, with the same `webhook-id`."""
    with context.database.writing() as session:
        webhook = webhooks.get(session, webhook_id=webhook_id)
        again = deliveries.send_again(
            session, webhook=webhook, delivery_id=delivery_id, now=utc_now()
        )
        reply = DeliveryOut.from_row(again)
    _deliverer(context).wake()
    return reply
