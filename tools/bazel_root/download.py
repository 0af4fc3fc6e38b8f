"""Download files by hash: a list of mirrors in, a verified file in a content-addressed store out.

A file enters the store by a rename, once its size and sha256 have been verified, and is verified
again at each use: neither an interrupted run nor a damaged disk can put a wrong file into a root.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tools.apt.mirrors import redacted, request
from tools.archive.atomic import replacing
from tools.bazel_root.lockfile import RootPackage
from tools.cli import ToolError

if TYPE_CHECKING:
    import ssl  # a Python without it still downloads by http

_CHUNK = 1 << 18
_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 2  # tries per mirror: connections break
_RETRY_DELAY = 1.0  # seconds


class CancelledError(Exception):
    """Another thread of the build has failed; this one stops without a message."""


class _TryError(Exception):
    """An attempt at one URL failed; `may_pass` says whether another attempt can succeed."""

    def __init__(self, problem: str, *, may_pass: bool) -> None:
        super().__init__(problem)
        self.may_pass = may_pass


class Store:
    """A directory of package files named by their sha256."""

    def __init__(
        self,
        directory: Path,
        *,
        scratch: Path,
        mirrors: Sequence[str],
        on_bytes: Callable[[int], None],
        cancelled: threading.Event | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._directory = directory
        self._scratch = scratch
        self._mirrors = mirrors
        self._on_bytes = on_bytes
        self._cancelled = cancelled or threading.Event()
        self._context = context

    def fetch(self, package: RootPackage) -> Path:
        """Return the path of the verified file, downloading it if necessary.

        Raise ToolError if no mirror has the right file, OSError if the disk is at fault.
        """
        target = self._directory / f"{package.sha256}.deb"
        if _matches(target, package):
            self._on_bytes(package.size)
            os.utime(target)  # build.py removes files that nobody has used for a long time
            return target
        failures: list[str] = []
        for base in self._mirrors:
            # A "+" is literal in a path, but some proxies and object stores read it as a space.
            url = f"{base}/{package.filename.replace('+', '%2B')}"
            for attempt in range(_ATTEMPTS):
                try:
                    self._download(url, package, target)
                    return target
                except _TryError as failure:
                    if not failure.may_pass or attempt + 1 == _ATTEMPTS:
                        failures.append(f"{redacted(url)}: {failure}")
                        break
                if self._cancelled.wait(_RETRY_DELAY):
                    raise CancelledError
        raise ToolError(_not_found(package, failures))

    def _download(self, url: str, package: RootPackage, target: Path) -> None:
        """Download one URL to `target`; raise _TryError if it is not the right file."""
        try:
            response = urllib.request.urlopen(  # noqa: S310 - mirrors.py allows http, https and file only
                request(url), timeout=_TIMEOUT, context=self._context
            )
        except urllib.error.HTTPError as error:
            raise _TryError(f"{error.code} {error.reason}", may_pass=error.code >= 500) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _TryError(str(getattr(error, "reason", error)), may_pass=True) from error
        with response, replacing(target, directory=self._scratch) as stream:
            received, digest = self._copy(response, stream, limit=package.size)
            if received != package.size:
                more = "more than " if received > package.size else ""
                problem = f"size is {more}{received} bytes, expected {package.size}"
            elif digest != package.sha256:
                problem = f"sha256 is {digest}, expected {package.sha256}"
            else:
                return
            self._on_bytes(-received)
            # A proxy's error page, or a broken connection.
            raise _TryError(problem, may_pass=True)

    def _copy(self, source: BinaryIO, target: BinaryIO, *, limit: int) -> tuple[int, str]:
        """Copy until the end, or just past `limit` bytes; return the count and the sha256."""
        received = 0
        digest = hashlib.sha256()
        while received <= limit:
            if self._cancelled.is_set():
                raise CancelledError
            try:
                chunk = source.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                self._on_bytes(-received)
                raise _TryError(
                    f"connection lost after {received} bytes: {error}", may_pass=True
                ) from error
            if not chunk:
                break
            target.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            self._on_bytes(len(chunk))
        return received, digest.hexdigest()


def _matches(path: Path, package: RootPackage) -> bool:
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size != package.size:
                return False
            digest = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == package.sha256


def _not_found(package: RootPackage, failures: list[str]) -> str:
    tried = "\n  ".join(failures or ["no mirrors are configured"])
    return (
        f"{package.name} {package.version}: no mirror has the file that the lock pins\n"
        f"  (sha256 {package.sha256}, {package.size} bytes):\n  {tried}\n"
        "Check the network and proxy settings, or set DEBIAN_MIRROR to the base URL of a mirror\n"
        "that has it. If the package has been superseded, lock again:\n"
        "bazel run //third_party/bazel:lock"
    )
