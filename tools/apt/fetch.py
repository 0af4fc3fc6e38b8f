"""Download small archive files from the first mirror that has the right bytes."""

import http.client
import urllib.request
from collections.abc import Callable, Sequence
from typing import IO
from urllib.parse import urlsplit

from tools.apt.mirrors import redacted, request
from tools.cli import ToolError

_TIMEOUT_SECONDS = 60
_CHUNK_BYTES = 1 << 20


class _StayingHandler(urllib.request.HTTPRedirectHandler):
    """Follows redirects within a mirror, which does not choose who else is asked."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.hostname != old.hostname:
            raise ToolError(
                f"redirects to another host, {new.hostname}; if that is a mirror of yours, name it "
                "in DEBIAN_MIRROR"
            )
        if old.scheme == "https" and new.scheme != "https":
            raise ToolError("redirects from https to a connection without encryption")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def read_url(url: str, *, limit: int) -> bytes:
    """Return what `url` holds; raise ToolError past `limit` bytes or on any failure.

    A redirect to another host is a failure, and so is one from https to http.
    """
    shown = redacted(url)
    content = bytearray()
    opener = urllib.request.build_opener(_StayingHandler)
    try:
        with opener.open(request(url), timeout=_TIMEOUT_SECONDS) as reply:
            while chunk := reply.read(_CHUNK_BYTES):
                content += chunk
                if len(content) > limit:
                    raise ToolError(f"larger than the {limit} bytes expected")  # noqa: TRY301 - the address is added once
            announced = reply.headers.get("Content-Length")
    except ToolError as error:
        raise ToolError(f"{shown}: {error}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ToolError(f"{shown}: {error}") from error
    # A connection that is lost midway looks like the end to read().
    if announced is not None and len(content) != int(announced):
        raise ToolError(f"{shown}: broke off after {len(content)} of {announced} bytes")
    return bytes(content)


def first_good(
    urls: Sequence[str],
    *,
    what: str,
    limit: int,
    check: Callable[[bytes], str | None],
) -> bytes:
    """Return the first of `urls` whose content passes `check`.

    `check` returns None for good content, else what is wrong with it. `limit` is in bytes.
    Raise ToolError naming every failure when none passes.
    """
    failures = []
    for url in urls:
        try:
            content = read_url(url, limit=limit)
        except ToolError as error:
            failures.append(str(error))
            continue
        problem = check(content)
        if problem is None:
            return content
        failures.append(f"{redacted(url)}: {problem}")
    reasons = "\n  ".join(failures) or "the mirror list is empty"
    raise ToolError(
        f"{what} could not be fetched from any mirror:\n  {reasons}\n"
        "Check the network, or name another mirror in DEBIAN_MIRROR"
    )
