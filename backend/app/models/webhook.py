"""The tables of webhooks and of what is delivered to them."""

import enum
import uuid
from datetime import datetime

from sqlalchemy import JSON, Enum, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, utc_now


class WebhookStatus(enum.StrEnum):
    """Whether anything is sent to a webhook."""

    ACTIVE = "active"
    DISABLED = "disabled"
    """By a user."""
    PAUSED = "paused"
    """By the service, for a `reason`."""


class DeliveryStatus(enum.StrEnum):
    """The status of a delivery. The last two are final unless it is sent again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


def _text_enum(members: type[enum.StrEnum]) -> Enum:
    return Enum(
        members,
        native_enum=False,  # values cannot be removed from a PostgreSQL enum
        length=20,
        create_constraint=False,
        values_callable=lambda known: [member.value for member in known],
    )


class Webhook(Base):
    """A URL to which events are sent.

    One process sends to it at a time, the one in `lease_owner`, until `lease_until`: so a slow
    endpoint holds nobody up but itself, and nothing is sent twice at the same time.
    """

    __tablename__ = "webhooks"

    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSON)
    """The types of events it gets."""
    status: Mapped[WebhookStatus] = mapped_column(
        _text_enum(WebhookStatus), default=WebhookStatus.ACTIVE
    )
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it is paused, for users."""
    secret_version: Mapped[int] = mapped_column(default=1)
    """Which secret is derived for it; see `app.services.signing`."""
    secret_hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the secret, which reveals that the key it is derived from has been replaced."""
    previous_until: Mapped[datetime | None]
    """Until when messages are signed with the previous secret, too."""
    failing_since: Mapped[datetime | None]
    """When the first of the failures was that no success has followed."""
    hold_until: Mapped[datetime | None]
    """Send nothing before: set after a failure, and by Retry-After."""
    lease_owner: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class WebhookDelivery(Base):
    """One message to one webhook, written in the transaction of what it tells of.

    It references no webhook: while one is being deleted, PostgreSQL would let the transaction of an
    analysis wait for that, and then fail. What remains of deleted webhooks is deleted later.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(None, "webhook_id", "status", "next_attempt_at"),
        Index(None, "webhook_id", "id"),
    )

    webhook_id: Mapped[uuid.UUID]
    event: Mapped[str] = mapped_column(String(40))
    body: Mapped[str] = mapped_column(Text)
    """The JSON document, exactly as it is signed and sent each time."""
    status: Mapped[DeliveryStatus] = mapped_column(
        _text_enum(DeliveryStatus), default=DeliveryStatus.PENDING
    )
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    """NULL if there is none."""
    attempted_at: Mapped[datetime | None]
    """When the latest attempt began. The next three are about that attempt, too."""
    response_status: Mapped[int | None]
    response_time: Mapped[float | None]
    """In seconds."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why it failed, for users."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    @property
    def message_id(self) -> str:
        """Return the header `webhook-id`, which tells repeats: the same for each attempt."""
        return f"msg_{self.id.hex}"
