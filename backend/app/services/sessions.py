"""Sessions of browsers, which cannot add headers when they load images, videos or event streams.

A session's id is random, known to the browser alone and stored as a hash. So nothing that the
database holds is a valid cookie, and a session ends everywhere when its row is deleted: at log-out,
with its key, or after SESSION_LIFETIME. A session belongs to an API key, or to a person who has
signed in (`app.services.sign_in`), whose role is looked up at each request.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from app.models import ApiKey, BrowserSession
from app.services.sign_in import Person

SESSION_LIFETIME = timedelta(hours=12)
_ID_BYTES = 32


def start(session: Session, *, owner: ApiKey | Person, now: datetime, previous: str | None) -> str:
    """Return the id of a new session of `owner`.

    Delete the one that the browser has sent, `previous`, and those that have expired.
    """
    ended = BrowserSession.expires_at <= now
    if previous is not None:
        ended = or_(ended, BrowserSession.hash == _hash(previous))
    session.execute(delete(BrowserSession).where(ended))
    text = secrets.token_urlsafe(_ID_BYTES)
    row = BrowserSession(hash=_hash(text), created_at=now, expires_at=now + SESSION_LIFETIME)
    if isinstance(owner, Person):
        row.address, row.domain = owner.address, owner.domain
    else:
        row.key_id = owner.id
    session.add(row)
    session.flush()
    return text


def authenticate(session: Session, *, text: str, now: datetime) -> ApiKey | Person | None:
    """Return who owns the session whose id is `text`: a valid key, a person, or None."""
    query = (
        select(BrowserSession, ApiKey)
        .outerjoin(ApiKey, BrowserSession.key_id == ApiKey.id)
        .where(
            BrowserSession.hash == _hash(text),
            BrowserSession.expires_at > now,
            ApiKey.revoked_at.is_(None),
        )
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    row, key = found
    return key if row.address is None else Person(row.address, row.domain)


def end(session: Session, *, text: str) -> None:
    """Delete the session whose id is `text`; do nothing if there is none."""
    session.execute(delete(BrowserSession).where(BrowserSession.hash == _hash(text)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
