"""The table of sessions of browsers, which holds only the hashes of their ids."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, utc_now


class BrowserSession(Base):
    """A session: who has its id, the value of a cookie, reads what its owner may read."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "key_id"), Index(None, "expires_at"))

    hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the id. An id has 256 random bits, so no slow hash is needed."""
    key_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    """The API key that owns the session; NULL if somebody has signed in."""
    address: Mapped[str | None] = mapped_column(String(254))
    """The verified e-mail address of whoever has signed in."""
    domain: Mapped[str | None] = mapped_column(String(254))
    """The Google Workspace that manages this account, if any."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
