"""Signing in at an identity provider: attempts in progress, and who is admitted as what.

An attempt begins with a random secret that only the browser keeps, in a cookie. `state`, `nonce`
and the PKCE verifier are derived from it, and the database has its hash until the browser returns:
an attempt is finished by the browser that began it, once, within ATTEMPT_LIFETIME.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.errors import NotAdmittedError, SignInError
from app.models import SignInAttempt

ATTEMPT_LIFETIME = timedelta(minutes=10)
CLIENT_MARK = "+"
"""First character of the names of clients that have signed in; see `client_name`."""
_CLIENT_LENGTH = 16
_SECRET_BYTES = 32
MAX_ADDRESS_LENGTH = 254
# Only ASCII: in Unicode, different letters can become the same one in lower case.
_ADDRESS = re.compile(r"[!-?A-~]+@[a-z0-9.-]+", re.ASCII)


class Role(StrEnum):
    """What somebody may do."""

    READER = "reader"
    EDITOR = "editor"


@dataclass(frozen=True)
class Person:
    """Somebody whom the provider has identified."""

    address: str
    """Verified, in lower case."""
    domain: str | None
    """The Google Workspace that manages the account (the claim `hd`), if any."""


@dataclass(frozen=True)
class Admission:
    """Who may sign in: addresses, and domains of Google Workspace."""

    readers: Sequence[str]
    editors: Sequence[str]

    def role(self, person: Person) -> Role | None:
        """Return the role of `person`, or None. An address takes precedence over its domain."""
        names = [person.address]
        # Anybody can have an address of a domain; only its Workspace makes one a member.
        if person.domain is not None and person.address.rpartition("@")[2] == person.domain:
            names.append(person.domain)
        for name in names:
            if name in self.editors:
                return Role.EDITOR
            if name in self.readers:
                return Role.READER
        return None

    def admit(self, person: Person) -> Role:
        """Return the role of `person`. Raise NotAdmittedError if there is none."""
        role = self.role(person)
        if role is None:
            raise NotAdmittedError(
                f"{person.address} is not among the people who may use this service. Ask its "
                "operator, or sign in with another account."
            )
        return role


class Provider(Protocol):
    """An identity provider; `app.services.oidc` has the real one."""

    def authorization_url(self, attempt: "Attempt") -> str:
        """Return where the browser signs in. Raise IdentityProviderError."""

    def identify(self, *, code: str, issuer: str | None, attempt: "Attempt") -> dict[str, object]:
        """Return the claims of whoever has signed in. Raise IdentityProviderError."""


@dataclass(frozen=True)
class SignIn:
    """How people sign in."""

    provider: Provider
    admission: Admission
    url: str
    """Where a sign-in starts: where the browser will return to, or it would lack the cookie."""

    @property
    def secure(self) -> bool:
        """Return whether browsers reach the service over TLS."""
        return self.url.startswith("https://")


@dataclass(frozen=True)
class Attempt:
    """What identifies one attempt to the provider; everything follows from the secret."""

    secret: str

    @property
    def state(self) -> str:
        """Return what the provider sends back with the browser."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """Return what the provider includes in the ID token."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """Return what proves to the provider who has begun the attempt (RFC 7636)."""
        return self._derived("verifier")

    def _derived(self, purpose: str) -> str:
        digest = hmac.digest(self.secret.encode(), purpose.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def begin(session: Session, *, now: datetime) -> Attempt:
    """Store a new attempt; delete those that have expired."""
    session.execute(delete(SignInAttempt).where(SignInAttempt.expires_at <= now))
    attempt = Attempt(secrets.token_urlsafe(_SECRET_BYTES))
    session.add(SignInAttempt(hash=_hash(attempt.secret), expires_at=now + ATTEMPT_LIFETIME))
    session.flush()
    return attempt


def continued(secret: str | None, *, state: str | None) -> Attempt:
    """Return the attempt that this browser has begun. Raise SignInError unless `state` is its."""
    if secret is None:
        raise SignInError(
            "This browser has not started a sign-in, or did so too long ago. Start again from the "
            "page, with cookies allowed."
        )
    attempt = Attempt(secret)
    if not hmac.compare_digest(attempt.state.encode(), (state or "").encode()):
        raise SignInError(
            "This is not the sign-in that the browser started last. Start again from the page."
        )
    return attempt


def finish(session: Session, *, attempt: Attempt, now: datetime) -> bool:
    """Delete an attempt; return whether it existed, which is true once, and had not expired."""
    ended = delete(SignInAttempt).where(
        SignInAttempt.hash == _hash(attempt.secret), SignInAttempt.expires_at > now
    )
    return session.execute(ended.returning(SignInAttempt.id)).first() is not None


def identified(claims: dict[str, object]) -> Person:
    """Return the person whom the claims of an ID token describe. Raise NotAdmittedError."""
    address, domain = claims.get("email"), claims.get("hd")
    if not isinstance(address, str) or not address:
        raise NotAdmittedError("The account has no e-mail address.")
    lower = address.lower()
    if not _ADDRESS.fullmatch(lower) or not address.isascii() or len(address) > MAX_ADDRESS_LENGTH:
        raise NotAdmittedError("The account's e-mail address has unusual characters.")
    if claims.get("email_verified") is not True:
        raise NotAdmittedError(f"The provider has not verified that {lower} is yours.")
    known = isinstance(domain, str) and 0 < len(domain) <= MAX_ADDRESS_LENGTH and domain.isascii()
    return Person(lower, str(domain).lower() if known else None)


def client_name(address: str) -> str:
    """Return the name that counts for quotas and turns, as a key's prefix does for the key."""
    digest = hashlib.sha256(address.encode()).hexdigest()
    return (CLIENT_MARK + digest)[:_CLIENT_LENGTH]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
