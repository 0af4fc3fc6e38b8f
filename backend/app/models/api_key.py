"""The table of API keys, which holds only their hashes."""

from datetime import datetime

from sqlalchemy import BigInteger, String, false
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, utc_now


class ApiKey(Base):
    """An API key. The key itself is shown once, on creation, and not stored."""

    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(String(100))
    """Who or what the key is for."""
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    """The public part of the key: identifies the row, and is shown in lists and logs."""
    hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the whole key. A key has 256 random bits, so no slow hash is needed."""
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Quota of stored bytes; NULL means KEY_BYTES."""
    max_jobs: Mapped[int | None]
    """Quota of unfinished analyses; NULL means KEY_JOBS."""
    admin: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether it may manage webhooks, and with them send what happens to other servers."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    revoked_at: Mapped[datetime | None]
