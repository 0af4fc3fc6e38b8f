"""The table of API keys: only their hashes."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, utc_now


class ApiKey(Base):
    """A credential. The key itself is shown once, when it is made, and kept nowhere."""

    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(String(100))
    """Who or what it is for."""
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    """The public part of the key: finds the row, and is what listings and logs show."""
    hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the whole key. Keys are 256 random bits, so no slow hash is needed."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    revoked_at: Mapped[datetime | None]
