"""A registry's error responses: their codes, and messages for the user.

Format: distribution-spec 1.1, "Error Codes".
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any

from tools.cli import ToolError, parse_json
from tools.registry.credentials import Credentials
from tools.registry.transport import Response

_NO_CREDENTIALS = (
    "no credentials were found for this host: log in with 'docker login' or 'podman login', "
    "or set REGISTRY_AUTH_FILE"
)
_LONGEST = 4000


class RegistryError(ToolError):
    """The registry refused. `codes` are its error codes; `details` their JSON, as it sent them.

    `status` is that of HTTP, 0 when something other than the status was wrong.
    """

    def __init__(
        self, message: str, *, codes: tuple[str, ...] = (), details: str = "", status: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes
        self.details = details


def refusal(what: str, response: Response, *, credentials: Credentials | None) -> RegistryError:
    """Return the error for an unexpected response to `what`."""
    errors = _errors(response.body)
    message = f"{what}: {response.status} {printable(response.reason)}"
    if errors:
        said = (f"{each.get('code')}: {each.get('message', '')}" for each in errors)
        message += f" ({printable('; '.join(said))})"
    if response.status in (401, 403):
        used = f"credentials used: {credentials.source}" if credentials else _NO_CREDENTIALS
        message += f"; {used}"
    return RegistryError(
        message,
        codes=tuple(str(each.get("code")) for each in errors),
        details=json.dumps([each.get("detail") for each in errors]),
        status=response.status,
    )


def scrub(text: str, secrets: Sequence[str]) -> str:
    """Return `text` without any of the secrets, also URL-encoded, and of limited length."""
    for secret in secrets:
        for spelling in (secret, urllib.parse.quote(secret, safe="")):
            text = text.replace(spelling, "***")
    # Shorten last: half a secret would not be found.
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def printable(text: str) -> str:
    """Return a server's text without control characters, which could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _errors(body: bytes) -> list[dict[str, Any]]:
    """Return the errors that a response reports; none if it has another form."""
    try:
        errors = parse_json(body)["errors"]
    except (ValueError, KeyError, TypeError):
        return []
    return [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
