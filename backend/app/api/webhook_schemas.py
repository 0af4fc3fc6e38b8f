"""Schemas of requests and responses about webhooks."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.models import DeliveryStatus, Webhook, WebhookDelivery, WebhookStatus
from app.services.outbox import EventType
from app.services.signing import PREFIX
from app.services.webhooks import NewSecret

MAX_OVERLAP_S = 7 * 86400
_WEBHOOK_ID = "0199a3f6-1b22-7f44-9d5c-4d5e6f708192"
_URL = "https://hooks.example.com/videos"
_TIME = "2026-11-27T10:15:04.120000Z"

_WEBHOOK: dict[str, Any] = {
    "id": _WEBHOOK_ID,
    "url": _URL,
    "events": ["analysis.failed", "motion.found"],
    "status": "active",
    "reason": None,
    "failing_since": None,
    "previous_secret_until": None,
    "created_at": _TIME,
}
_DELIVERY: dict[str, Any] = {
    "id": "0199a3f7-2c33-7a55-8e6d-5e6f708192a3",
    "message_id": "msg_0199a3f72c337a558e6d5e6f708192a3",
    "event": "motion.found",
    "status": "pending",
    "attempts": 1,
    "created_at": _TIME,
    "attempted_at": "2026-11-27T10:15:05.480000Z",
    "next_attempt_at": "2026-11-27T10:15:10.020000Z",
    "response_status": 503,
    "response_time": 0.214,
    "error": "Status 503.",
}
_MESSAGE = '{"type":"motion.found","timestamp":"2026-11-27T10:15:04.120000Z","version":1,"data":{}}'

_Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="On WEBHOOK_HOSTS; https://, or http:// to an address that is not public.",
    ),
]
_Events = Annotated[
    list[EventType],
    Field(min_length=1, max_length=len(EventType), description="What to be told of."),
]


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class WebhookIn(BaseModel):
    """A webhook to create."""

    model_config = _example({"url": _URL, "events": ["analysis.failed", "motion.found"]})

    url: _Url
    events: _Events = list(EventType)


class WebhookChangeIn(BaseModel):
    """What to change; null changes nothing."""

    model_config = _example({"enabled": True})

    url: _Url | None = None
    events: _Events | None = None
    enabled: bool | None = None


class RotationIn(BaseModel):
    """How to replace a secret."""

    model_config = _example({"overlap": 86400})

    overlap: int = Field(
        default=86400,
        ge=0,
        le=MAX_OVERLAP_S,
        description="For so many seconds messages are signed with the previous secret, too.",
    )


class WebhookOut(BaseModel):
    """A webhook, without its secret."""

    model_config = _example(_WEBHOOK)

    id: uuid.UUID
    url: str
    events: list[EventType]
    status: WebhookStatus = Field(
        description="`disabled` by a user, or `paused` by the service: because of `reason`."
    )
    reason: str | None
    failing_since: datetime | None = Field(
        description="Since when every attempt has failed. After three days it is paused."
    )
    previous_secret_until: datetime | None
    created_at: datetime

    @classmethod
    def from_row(cls, row: Webhook) -> "WebhookOut":
        """Convert a row."""
        return cls(**_fields(row))


class NewWebhookOut(WebhookOut):
    """A webhook with a new secret, which is not shown again."""

    model_config = _example(_WEBHOOK | {"secret": f"{PREFIX}…"})

    secret: str = Field(description=f"`{PREFIX}` and the key in base64.")

    @classmethod
    def from_new(cls, new: NewSecret) -> "NewWebhookOut":
        """Convert a row and its secret."""
        return cls(**_fields(new.webhook), secret=new.secret)


def _fields(row: Webhook) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "events": row.events,
        "status": row.status,
        "reason": row.reason,
        "failing_since": row.failing_since,
        "previous_secret_until": row.previous_until,
        "created_at": row.created_at,
    }


class WebhookListOut(BaseModel):
    """All webhooks."""

    model_config = _example({"webhooks": [_WEBHOOK]})

    webhooks: list[WebhookOut]


class DeliveryOut(BaseModel):
    """A message to a webhook, and how its latest attempt ended."""

    model_config = _example(_DELIVERY)

    id: uuid.UUID
    message_id: str = Field(description="The header `webhook-id`: the same for each attempt.")
    event: str
    status: DeliveryStatus = Field(
        description="`pending` until it is delivered, or has failed ten times."
    )
    attempts: int
    created_at: datetime
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    response_status: int | None
    response_time: float | None = Field(description="In seconds.")
    error: str | None

    @classmethod
    def from_row(cls, row: WebhookDelivery) -> "DeliveryOut":
        """Convert a row."""
        return cls(**_delivery_fields(row))


class DeliveryDetailOut(DeliveryOut):
    """A delivery with its body."""

    model_config = _example(_DELIVERY | {"body": _MESSAGE})

    body: str = Field(description="Exactly what is signed and sent.")

    @classmethod
    def from_row(cls, row: WebhookDelivery) -> "DeliveryDetailOut":
        """Convert a row."""
        return cls(**_delivery_fields(row), body=row.body)


def _delivery_fields(row: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "message_id": row.message_id,
        "event": row.event,
        "status": row.status,
        "attempts": row.attempts,
        "created_at": row.created_at,
        "attempted_at": row.attempted_at,
        "next_attempt_at": row.next_attempt_at,
        "response_status": row.response_status,
        "response_time": row.response_time,
        "error": row.error,
    }


class DeliveryPageOut(BaseModel):
    """One page of deliveries."""

    model_config = _example({"deliveries": [_DELIVERY], "next_cursor": None})

    deliveries: list[DeliveryOut]
    next_cursor: str | None
