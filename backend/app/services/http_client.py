"""Small documents of a server that the operator has named.

As `app.services.fetch` does it, with one deadline and without proxies, but addresses of every
network are allowed and redirects are not followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.errors import ForbiddenImportError, ImportFailedError
from app.services import fetch
from app.services.deadline import Deadline


class HttpClientError(Exception):
    """The server gave no usable response; the message says why, without a final full stop."""


@dataclass(frozen=True)
class Reply:
    """A complete response."""

    status: int
    body: bytes = field(repr=False)


def request(
    method: str,
    url: str,
    *,
    deadline: Deadline,
    limit: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """Send a request and return the response. Raise HttpClientError if it exceeds `limit` bytes."""
    try:
        rules = fetch.FetchRules(hosts=("*",), private_addresses=True, timeout=deadline.remaining())
        target = fetch.parse(url, rules=rules)
        with fetch.connected(target, rules=rules, deadline=deadline) as timed:
            response = fetch.request(timed, target, method=method, headers=headers, body=body)
            content = bytearray()
            for chunk in fetch.read_chunks(response, target, deadline=deadline):
                content += chunk
                if len(content) > limit:
                    raise HttpClientError(f"{target.host} sent more than {limit} bytes")
            return Reply(response.status, bytes(content))
    except TimeoutError:
        raise HttpClientError("it did not respond in time") from None
    except (ForbiddenImportError, ImportFailedError) as error:
        raise HttpClientError(str(error).removesuffix(".")) from None
