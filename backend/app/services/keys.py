"""API keys: shown once, stored as hashes, checked on every request.

A key has the form `vk_<prefix>_<secret>`. Browsers cannot add headers when they load images, videos
or event streams, so a key can be exchanged for a session: a token signed with the key's stored
hash. Any process of the service can verify it, and revoking the key ends it.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import ApiKey

SESSION_LIFETIME = timedelta(hours=12)
MAX_NAME_LENGTH = 100
_SECRET_BYTES = 32
_KEY = re.compile(r"vk_([0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_SESSION = re.compile(r"([0-9a-f]{8})\.([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)


class KeyNotFoundError(Exception):
    """No key has the given prefix."""


@dataclass(frozen=True)
class NewKey:
    """A new key: its row, and the only copy of its text."""

    row: ApiKey
    text: str


def create(session: Session, *, name: str) -> NewKey:
    """Create a key. Raise ValueError if the name is empty, too long or not printable."""
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"the name must have 1 to {MAX_NAME_LENGTH} printable characters")
    prefix = secrets.token_hex(4)
    text = f"vk_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = ApiKey(name=name, prefix=prefix, hash=_hash(text))
    session.add(row)
    session.flush()
    return NewKey(row, text)


def list_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, including revoked ones, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def revoke(session: Session, *, prefix: str, now: datetime) -> ApiKey:
    """Revoke a key and its sessions; revoking twice is harmless. Raise KeyNotFoundError."""
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == prefix))
    if row is None:
        raise KeyNotFoundError(f"no key has the prefix {prefix!r}")
    row.revoked_at = row.revoked_at or now
    session.flush()
    return row


def authenticate(session: Session, *, text: str) -> ApiKey | None:
    """Return the valid key whose text is `text`, or None."""
    match = _KEY.fullmatch(text)
    row = None if match is None else _find_valid(session, prefix=match[1])
    if row is None or not hmac.compare_digest(row.hash, _hash(text)):
        return None
    return row


def start_session(key: ApiKey, *, now: datetime) -> str:
    """Return a session token for `key` that is valid for SESSION_LIFETIME."""
    expiry = str(int((now + SESSION_LIFETIME).timestamp()))
    return f"{key.prefix}.{expiry}.{_signature(key, expiry)}"


def authenticate_session(session: Session, *, text: str, now: datetime) -> ApiKey | None:
    """Return the valid key that the session token `text` belongs to, or None."""
    match = _SESSION.fullmatch(text)
    if match is None:
        return None
    prefix, expiry, signature = match.groups()
    row = _find_valid(session, prefix=prefix)
    if row is None or not hmac.compare_digest(_signature(row, expiry), signature):
        return None
    return row if datetime.fromtimestamp(int(expiry), UTC) > now else None


def _find_valid(session: Session, *, prefix: str) -> ApiKey | None:
    query = select(ApiKey).where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    return session.scalar(query)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _signature(key: ApiKey, expiry: str) -> str:
    # The stored hash never leaves the database, and cannot be used as a key.
    message = f"session {key.prefix} {expiry}".encode()
    return hmac.new(key.hash.encode(), message, hashlib.sha256).hexdigest()
