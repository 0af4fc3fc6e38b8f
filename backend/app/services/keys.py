"""API keys: made once, kept as hashes, recognised on every request.

A key reads `vk_<prefix>_<secret>`. A browser cannot send a header with a picture, a video or an
event stream, so a key can be exchanged for a session: a text signed with the key's own hash, which
any process of the service can check and which ends when the key is revoked.
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

SESSION_LIFE = timedelta(hours=12)
NAME_CHARACTERS = 100
_SECRET_BYTES = 32
_KEY = re.compile(r"vk_([0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_SESSION = re.compile(r"([0-9a-f]{8})\.([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)


class KeyNotFoundError(Exception):
    """No key has the prefix asked for."""


@dataclass(frozen=True)
class NewKey:
    """A key just made: its row, and the only copy of the text."""

    row: ApiKey
    text: str


def create(session: Session, *, name: str) -> NewKey:
    """Make a key. Raises ValueError when the name is empty, too long or not printable."""
    if not 0 < len(name) <= NAME_CHARACTERS or not name.isprintable():
        raise ValueError(f"a key's name has 1 to {NAME_CHARACTERS} printable characters")
    prefix = secrets.token_hex(4)
    text = f"vk_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = ApiKey(name=name, prefix=prefix, hash=_hash(text))
    session.add(row)
    session.flush()
    return NewKey(row, text)


def listing(session: Session) -> Sequence[ApiKey]:
    """Return all keys, oldest first, the revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def revoke(session: Session, *, prefix: str, now: datetime) -> ApiKey:
    """End a key and its sessions; doing it twice is fine. Raises KeyNotFoundError."""
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == prefix))
    if row is None:
        raise KeyNotFoundError(f"there is no key with the prefix {prefix!r}")
    row.revoked_at = row.revoked_at or now
    session.flush()
    return row


def authenticate(session: Session, *, text: str) -> ApiKey | None:
    """Return the valid key that `text` is, or None."""
    found = _KEY.fullmatch(text)
    row = None if found is None else _valid(session, prefix=found[1])
    if row is None or not hmac.compare_digest(row.hash, _hash(text)):
        return None
    return row


def start_session(key: ApiKey, *, now: datetime) -> str:
    """Return the text of a session that a key's holder may use for SESSION_LIFE."""
    expiry = str(int((now + SESSION_LIFE).timestamp()))
    return f"{key.prefix}.{expiry}.{_signature(key, expiry)}"


def authenticate_session(session: Session, *, text: str, now: datetime) -> ApiKey | None:
    """Return the valid key that a session was started with, or None."""
    found = _SESSION.fullmatch(text)
    if found is None:
        return None
    prefix, expiry, signature = found.groups()
    row = _valid(session, prefix=prefix)
    if row is None or not hmac.compare_digest(_signature(row, expiry), signature):
        return None
    return row if datetime.fromtimestamp(int(expiry), UTC) > now else None


def _valid(session: Session, *, prefix: str) -> ApiKey | None:
    query = select(ApiKey).where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    return session.scalar(query)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _signature(key: ApiKey, expiry: str) -> str:
    # The stored hash is known to nobody outside, and useless as a key itself.
    message = f"session {key.prefix} {expiry}".encode()
    return hmac.new(key.hash.encode(), message, hashlib.sha256).hexdigest()
