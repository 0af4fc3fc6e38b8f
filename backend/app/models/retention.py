"""The one row that processes share to remove old videos: lease, clock, and totals."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class RetentionState(Base):
    """Who removes old videos, which clock is trusted, and what has been removed so far."""

    __tablename__ = "retention"

    lease_owner: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    checked_at: Mapped[datetime]
    """The time of the latest run, by its own clock."""
    trusted_at: Mapped[datetime]
    """The same for the latest run whose clock had not jumped."""
    doubted_at: Mapped[datetime | None]
    """When the clock jumped, by the new clock; NULL while it is trusted."""
    removed_by_age: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Number of videos, as the next one."""
    removed_by_size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    removed_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
