"""Send a message to a webhook: sign it, POST it, judge the response.

Addresses are checked as those of imports are (`app.services.fetch`). Redirects are not followed,
and of the response nothing is read but status and headers.
"""

import email.utils
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.errors import ForbiddenImportError, ImportFailedError
from app.services.deadline import Deadline
from app.services.deliveries import Attempt, Message
from app.services.fetch import FetchRules, connected, parse, request
from app.services.signing import SecretLostError, SigningKey, sign


@dataclass(frozen=True)
class Sender:
    """Sends messages; shared by all threads."""

    key: SigningKey
    rules: FetchRules
    agent: str
    """The User-Agent header."""

    def send(self, message: Message, *, now: datetime) -> Attempt:
        """Send a message within the rules' timeout; return how it ended."""
        began = time.monotonic()
        try:
            headers = self._headers(message, now=now)
        except SecretLostError as error:
            lost = f"The secret is lost: {error}. Rotate it, then enable the webhook."
            return Attempt(seconds=0, error=lost, pause=lost)
        try:
            status, retry_after = self._post(message, headers)
        except (ForbiddenImportError, ImportFailedError, TimeoutError) as error:
            return Attempt(seconds=time.monotonic() - began, error=str(error))
        seconds = time.monotonic() - began
        if 200 <= status < 300:
            return Attempt(seconds=seconds, status=status)
        return Attempt(
            seconds=seconds,
            status=status,
            error=_describe(status),
            retry_after=_seconds(retry_after, now=now),
            pause="The endpoint responded with status 410 (gone)." if status == 410 else None,
        )

    def _headers(self, message: Message, *, now: datetime) -> dict[str, str]:
        timestamp = int(now.timestamp())
        version, known = message.secret_version, message.secret_hash
        secrets = [self.key.secret(message.webhook_id, version=version, known=known)]
        if message.previous:
            secrets.append(self.key.secret(message.webhook_id, version=version - 1, known=None))
        signatures = [
            sign(secret, message_id=message.id, timestamp=timestamp, body=message.body)
            for secret in secrets
        ]
        return {
            "Content-Type": "application/json",
            "User-Agent": self.agent,
            "Connection": "close",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }

    def _post(self, message: Message, headers: dict[str, str]) -> tuple[int, str | None]:
        deadline = Deadline(self.rules.timeout)
        target = parse(message.url, rules=self.rules)
        with connected(target, rules=self.rules, deadline=deadline) as timed:
            response = request(timed, target, method="POST", body=message.body, headers=headers)
            return response.status, response.getheader("retry-after")


def _describe(status: int) -> str:
    if 300 <= status < 400:
        return f"Status {status}. Redirects are not followed; change the webhook's URL."
    return f"Status {status}."


def _seconds(retry_after: str | None, *, now: datetime) -> timedelta:
    """Return the time in a Retry-After header (RFC 9110 §10.2.3); none if it has no valid one."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text[:9]))
    try:
        return max(email.utils.parsedate_to_datetime(text) - now, timedelta(0))
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a time zone
        return timedelta(0)
