"""Upload one blob: open, send in one piece or several, commit; resume or restart after faults.

Follows distribution-spec 1.1, "Pushing blobs". A small blob is sent monolithically (POST, PUT), a
larger one as a stream (POST, one PATCH, PUT) so that it can resume after a fault, and in chunks
(POST, PATCH each, PUT) if the user asks for them.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from tools.image.spec import Descriptor
from tools.registry.errors import RegistryError
from tools.registry.registry import Registry
from tools.registry.transport import FileSlice, TransportError, retry_after

_OFFSET = re.compile(r"(?:bytes=)?0-([0-9]+)")
_NEVER = -1.0
# Bytes up to which restarting is cheaper than asking for the offset.
_SMALL = 1 << 20


def upload_blob(
    registry: Registry,
    descriptor: Descriptor,
    path: Path,
    *,
    chunk: int | None,
    sent: Callable[[int], None],
) -> None:
    """Send the file at `path` as a blob; raise RegistryError or TransportError.

    `chunk` is the most bytes of one request, None for the whole blob. After a fault the upload
    resumes at the offset that the registry reports, or restarts if it reports none. `sent` is
    called with the number of bytes sent; a negative number means that they are sent again.
    """
    retries = registry.transport.options.retries
    for attempt in range(1, retries + 2):
        if attempt > 1 and registry.has_blob(descriptor.digest):
            # Only the response was lost: the blob had arrived.
            sent(descriptor.size)
            return
        upload = _Upload(registry, descriptor, path, chunk=chunk, sent=sent)
        try:
            upload.run()
        except (TransportError, RegistryError) as error:
            sent(-upload.counted)
            wait = _wait_after(error)
            if wait == _NEVER or attempt > retries:
                raise
            pause = registry.transport.delay(attempt, wait)
            registry.transport.warn(f"{error}; restarting the upload of the blob in {pause:.1f} s")
            registry.transport.pause(pause)
        else:
            return


class _Upload:
    """One upload of one blob."""

    def __init__(
        self,
        registry: Registry,
        descriptor: Descriptor,
        path: Path,
        *,
        chunk: int | None,
        sent: Callable[[int], None],
    ) -> None:
        self.counted = 0
        self._registry = registry
        self._descriptor = descriptor
        self._path = path
        self._chunk = chunk
        self._sent = sent

    def run(self) -> None:
        size = self._descriptor.size
        opened = self._registry.open_upload(self._descriptor.digest)
        most = size if self._chunk is None else max(self._chunk, opened.least)
        if size <= min(most, _SMALL):
            self._commit(opened.url, FileSlice(self._path, 0, size))
            return
        url = opened.url
        offset = faults = 0
        while offset < size:
            piece = FileSlice(self._path, offset, min(most, size - offset))
            try:
                url = self._send_piece(url, piece)
                offset += piece.length
                faults = 0
            except TransportError as error:
                faults += 1
                if not error.retriable or faults > self._registry.transport.options.retries:
                    raise
                url, reached = self._resume(url, piece, error)
                # An unreliable connection is good enough as long as something arrives.
                faults = 0 if reached > offset else faults
                offset = reached
        self._commit(url, b"")

    def _send_piece(self, url: str, piece: FileSlice) -> str:
        """Send a piece; return the URL for the next."""
        headers = {"Content-Type": "application/octet-stream"}
        if self._chunk is not None:
            last = piece.offset + piece.length - 1
            headers["Content-Range"] = f"{piece.offset}-{last}"
        # One attempt: a second has to begin at the offset that the registry reports.
        response = self._registry.call_url(
            "PATCH", url, headers=headers, body=piece, sent=self._count, retry=False
        )
        if response.status >= 500 or response.status in (408, 429):
            raise TransportError(
                f"upload of {self._descriptor.digest}: {response.status} {response.reason}",
                retriable=True,
                wait=retry_after(response),
            )
        if response.status not in (201, 202, 204):
            raise self._registry.refused(f"PATCH upload of {self._descriptor.digest}", response)
        return self._registry.location(response)

    def _resume(self, url: str, piece: FileSlice, error: TransportError) -> tuple[str, int]:
        """Return where to resume after a fault in `piece`: URL and offset.

        Raise `error` again if the registry does not know or has nothing: then restarting costs
        nothing.
        """
        transport = self._registry.transport
        transport.pause(transport.delay(1, error.wait))
        status = self._registry.call_url("GET", url)
        match = _OFFSET.fullmatch(status.headers.get("Range", "").strip())
        reached = int(match[1]) + 1 if match else 0
        # Registries report 0-0 for one byte and for none.
        known = status.status == 204 and reached > 1
        if not known or not piece.offset <= reached <= piece.offset + piece.length:
            raise error
        self._count(reached - self.counted)
        return self._registry.location(status), reached

    def _count(self, amount: int) -> None:
        self.counted += amount
        self._sent(amount)

    def _commit(self, url: str, rest: bytes | FileSlice) -> None:
        """Send the `rest` of the blob, if any, and let the registry verify the digest."""
        joint = "&" if "?" in url else "?"
        query = urllib.parse.urlencode({"digest": self._descriptor.digest})
        response = self._registry.call_url(
            "PUT",
            f"{url}{joint}{query}",
            headers={"Content-Type": "application/octet-stream"},
            body=rest,
            sent=self._count,
        )
        if response.status not in (201, 204):
            raise self._registry.refused(f"PUT blob {self._descriptor.digest}", response)
        self._registry.check_digest(response, self._descriptor.digest)


def _wait_after(error: TransportError | RegistryError) -> float | None:
    """Return the server's wait before an upload may restart; _NEVER if it must not."""
    if isinstance(error, TransportError):
        return error.wait if error.retriable else _NEVER
    # The upload session expired or was dropped by the registry; another one can be opened.
    dropped = {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"} & set(error.codes)
    return None if dropped else _NEVER
