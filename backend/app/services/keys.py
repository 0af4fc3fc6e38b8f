"""API keys: shown once, stored as hashes, checked on every request.

A key has the form `vk_<prefix>_<secret>`. It can be exchanged for a session
(`app.services.sessions`), which ends with the key.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.models import ApiKey, BrowserSession

MAX_NAME_LENGTH = 100
_SECRET_BYTES = 32
_KEY = re.compile(r"vk_([0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)


class KeyNotFoundError(Exception):
    """No key has the given prefix."""


@dataclass(frozen=True)
class NewKey:
    """A new key: its row, and the only copy of its text."""

    row: ApiKey
    text: str


def create(
    session: Session,
    *,
    name: str,
    max_bytes: int | None = None,
    max_jobs: int | None = None,
    admin: bool = False,
) -> NewKey:
    """Create a key, perhaps with quotas of its own, or one that may manage webhooks.

    Raise ValueError if the name is empty, too long or not printable.
    """
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"the name must have 1 to {MAX_NAME_LENGTH} printable characters")
    prefix = secrets.token_hex(4)
    text = f"vk_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = ApiKey(
        name=name, prefix=prefix, hash=_hash(text), max_bytes=max_bytes, max_jobs=max_jobs,
        admin=admin,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return NewKey(row, text)


def list_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, including revoked ones, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def limit(session: Session, *, prefix: str, max_bytes: int | None, max_jobs: int | None) -> ApiKey:
    """Replace the quotas of a key; None means the service's. Raise KeyNotFoundError."""
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == prefix))
    if row is None:
        raise KeyNotFoundError(f"no key has the prefix {prefix!r}")
    row.max_bytes, row.max_jobs = max_bytes, max_jobs
    session.flush()
    return row


def revoke(session: Session, *, prefix: str, now: datetime) -> ApiKey:
    """Revoke a key, delete its sessions; revoking twice is harmless. Raise KeyNotFoundError."""
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == prefix))
    if row is None:
        raise KeyNotFoundError(f"no key has the prefix {prefix!r}")
    row.revoked_at = row.revoked_at or now
    session.execute(delete(BrowserSession).where(BrowserSession.key_id == row.id))
    session.flush()
    return row


def authenticate(session: Session, *, text: str) -> ApiKey | None:
    """Return the valid key whose text is `text`, or None."""
    match = _KEY.fullmatch(text)
    row = None if match is None else _find_valid(session, prefix=match[1])
    if row is None or not hmac.compare_digest(row.hash, _hash(text)):
        return None
    return row


def _find_valid(session: Session, *, prefix: str) -> ApiKey | None:
    query = select(ApiKey).where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    return session.scalar(query)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
