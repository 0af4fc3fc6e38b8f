"""A repository in a registry → manifests and blobs on disk, each verified by its digest.

Format: distribution-spec 1.1, "Pulling manifests" and "Pulling blobs". An interrupted
download resumes, and a file is in its place only when complete and verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tools.archive.atomic import replacing
from tools.image import spec
from tools.registry.errors import RegistryError
from tools.registry.registry import Registry
from tools.registry.transport import TransportError, retry_after

ACCEPT = ", ".join(sorted(spec.MANIFEST_TYPES | spec.INDEX_TYPES))


def fetch_manifest(registry: Registry, reference: str) -> bytes:
    """Return the manifest or index of a tag or digest.

    Raise RegistryError when there is none or it has another digest, TransportError.
    """
    response = registry.read("GET", f"manifests/{reference}", headers={"Accept": ACCEPT})
    what = f"{registry.repository}: manifest {reference}"
    if response.status != 200:
        raise registry.refused(what, response)
    found = spec.sha256_digest(response.body)
    if reference.startswith("sha256:") and found != reference:
        raise RegistryError(f"{what}: the registry sent one with digest {found}")
    return response.body


def fetch_blob(
    registry: Registry,
    descriptor: spec.Descriptor,
    file: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a blob to `file`; `advance` is called with the number of bytes as they arrive.

    Raise RegistryError when the registry refuses or sends bytes that differ from the descriptor,
    TransportError when every retry fails, OSError.
    """
    transport = registry.transport
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        part = _Part(registry, descriptor, stream.write, advance=advance)
        faults = 0
        while not part.complete:
            before = part.have
            try:
                part.request()
            except TransportError as error:
                # An unreliable connection is good enough as long as something arrives.
                faults = 1 if part.have > before else faults + 1
                if not error.retriable or faults > transport.options.retries:
                    raise
                wait = transport.delay(faults, error.wait)
                transport.warn(f"{error}; resuming at byte {part.have} in {wait:.1f} s")
                transport.pause(wait)
        part.check()


class _Part:
    """The part of a blob that has arrived so far."""

    def __init__(
        self,
        registry: Registry,
        descriptor: spec.Descriptor,
        write: Callable[[bytes], object],
        *,
        advance: Callable[[int], None],
    ) -> None:
        self.have = 0
        self._registry = registry
        self._descriptor = descriptor
        self._write = write
        self._advance = advance
        self._hash = hashlib.sha256()
        self._what = f"{registry.repository}: blob {descriptor.digest}"
        self._skip = 0

    @property
    def complete(self) -> bool:
        return self.have == self._descriptor.size

    def request(self) -> None:
        """Request the rest once; raise TransportError when not all of it arrived."""
        headers = {"Range": f"bytes={self.have}-"} if self.have else {}
        self._skip = self.have
        response = self._registry.read(
            "GET",
            f"blobs/{self._descriptor.digest}",
            headers=headers,
            receive=self._receive,
            retry=False,
        )
        if response.status >= 500 or response.status in (408, 425, 429):
            raise TransportError(
                f"{self._what}: {response.status} {response.reason}",
                retriable=True,
                wait=retry_after(response),
            )
        if response.status not in (200, 206):
            raise self._registry.refused(self._what, response)
        if not self.complete:
            raise TransportError(f"{self._what}: the response ended early", retriable=True)

    def check(self) -> None:
        """Raise RegistryError unless the bytes have the descriptor's digest."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._descriptor.digest:
            raise RegistryError(f"{self._what}: the registry sent bytes with digest {found}")

    def _receive(self, status: int, data: bytes) -> None:
        if status == 200 and self._skip:
            # The server ignores ranges and started over; skip the bytes that are here already.
            known = min(self._skip, len(data))
            self._skip -= known
            data = data[known:]
        if self.have + len(data) > self._descriptor.size:
            raise RegistryError(
                f"{self._what}: the registry sends more than the {self._descriptor.size} bytes "
                "of its descriptor"
            )
        self._write(data)
        self._hash.update(data)
        self.have += len(data)
        self._advance(len(data))
