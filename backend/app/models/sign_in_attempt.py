"""The table of sign-ins in progress, which holds only hashes."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class SignInAttempt(Base):
    """A sign-in that a browser has begun; the row is deleted when the browser returns."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index(None, "expires_at"),)

    hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the secret in the browser's cookie."""
    expires_at: Mapped[datetime]
