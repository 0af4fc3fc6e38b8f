"""Secrets and signatures of webhooks, as Standard Webhooks 1.0 specifies them.

A secret is derived from one random key in DATA_DIR, the webhook's id and the number of the secret.
So whoever has the database, or a copy of it, cannot sign; and secrets can be shown once, and yet be
used later. A webhook's row has the hash of its secret, which reveals that the key has been lost.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import uuid
from pathlib import Path

PREFIX = "whsec_"
_KEY_BYTES = 32


class SecretLostError(Exception):
    """The key that the secret was derived from is missing or has been replaced."""


class SigningKey:
    """The key in a file that all processes with the same DATA_DIR share."""

    def __init__(self, directory: Path) -> None:
        """Name the file; create it only when the first secret is needed."""
        self._path = directory / "webhooks.key"

    def new_secret(self, webhook_id: uuid.UUID, *, version: int) -> str:
        """Return a secret to show once. Raise OSError if the key cannot be stored."""
        if not self._path.exists():
            self._create()
        return _derive(self._path.read_bytes(), webhook_id, version)

    def secret(self, webhook_id: uuid.UUID, *, version: int, known: str | None) -> str:
        """Return a secret again; `known` is its hash. Raise SecretLostError."""
        try:
            found = _derive(self._path.read_bytes(), webhook_id, version)
        except OSError as error:
            raise SecretLostError(
                f"{self._path.name} in DATA_DIR cannot be read ({error.strerror})"
            ) from error
        if known is not None and not hmac.compare_digest(hash_of(found), known):
            raise SecretLostError(f"{self._path.name} in DATA_DIR has been replaced")
        return found

    def _create(self) -> None:
        """Create the file with a link, so that no other process reads a part, or another key."""
        temporary = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                self._path.hardlink_to(temporary)
        finally:
            temporary.unlink()


def _derive(key: bytes, webhook_id: uuid.UUID, version: int) -> str:
    derived = hmac.digest(key, f"webhook {webhook_id} {version}".encode(), "sha256")
    return PREFIX + base64.b64encode(derived).decode()


def hash_of(secret: str) -> str:
    """Return the hash of a secret, to store."""
    return hashlib.sha256(secret.encode()).hexdigest()


def sign(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: `v1,` and a base64 text."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
