"""Downloads files by hash: a list of mirrors in, a verified file in a content-addressed store out.

A file enters the store by rename after its size and sha256 have been found right, and is checked
again whenever it is used, so that whatever interrupts a run or damages the disk, nothing wrong is
taken for right.
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

from tools.apt.mirrors import redacted
from tools.bazel_root.errors import BazelRootError
from tools.bazel_root.lockfile import RootPackage

_CHUNK = 1 << 18
_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 2  # tries per mirror: connections break
_RETRY_DELAY = 1.0  # seconds


class Cancelled(Exception):
    """Another part of the build has failed; this one stops quietly."""


class Store:
    """A directory of package files named by their sha256."""

    def __init__(
        self,
        directory: Path,
        *,
        scratch: Path,
        mirrors: Sequence[str],
        on_bytes: Callable[[int], None] = lambda count: None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._directory = directory
        self._scratch = scratch
        self._mirrors = mirrors
        self._on_bytes = on_bytes
        self._cancelled = cancelled or threading.Event()

    def fetch(self, package: RootPackage) -> Path:
        """Returns the path of the verified file, downloading it when it is not there.

        Raises BazelRootError when no mirror has the right file, OSError for the local disk's errors.
        """
        target = self._directory / f"{package.sha256}.deb"
        if _matches(target, package):
            self._on_bytes(package.size)
            os.utime(target)  # build.py removes files that nobody has used for a long time
            return target
        failures: list[str] = []
        for base in self._mirrors:
            url = f"{base}/{package.filename.replace('+', '%2B')}"
            for attempt in range(_ATTEMPTS):
                problem = self._try(url, package, target)
                if problem is None:
                    return target
                retry = problem.startswith("~") and attempt + 1 < _ATTEMPTS
                if not retry:
                    failures.append(f"{redacted(url)}: {problem.lstrip('~')}")
                    break
                if self._cancelled.wait(_RETRY_DELAY):
                    raise Cancelled
        raise BazelRootError(_not_found(package, failures))

    def _try(self, url: str, package: RootPackage, target: Path) -> str | None:
        """Tries one URL; returns None or what was wrong, with a "~" before what may pass by itself."""
        part = self._scratch / f"{package.sha256}.{threading.get_ident()}"
        received = 0
        digest = hashlib.sha256()
        try:
            response = urllib.request.urlopen(url, timeout=_TIMEOUT)  # noqa: S310 (mirrors.py: http, https, file)
        except urllib.error.HTTPError as error:
            return ("~" if error.code >= 500 else "") + f"HTTP status {error.code} {error.reason}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"~{getattr(error, 'reason', error)}"
        with response, open(part, "wb") as stream:
            while received <= package.size:
                if self._cancelled.is_set():
                    raise Cancelled
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    self._on_bytes(-received)
                    return f"~broke off after {received} bytes: {error}"
                if not chunk:
                    break
                stream.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                self._on_bytes(len(chunk))
        found = digest.hexdigest()
        if received == package.size and found == package.sha256:
            os.replace(part, target)
            return None
        self._on_bytes(-received)
        part.unlink()
        if received != package.size:
            more = "more than " if received > package.size else ""
            return f"~size is {more}{received} bytes, expected {package.size}"
        return f"~sha256 is {found}, expected {package.sha256}"


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
    tried = "\n  ".join(failures or ["no mirror is known"])
    return (
        f"{package.name} {package.version}: no mirror gave the file that the lock names\n"
        f"  (sha256 {package.sha256}, {package.size} bytes):\n  {tried}\n"
        "Check the network and proxy settings, or set DEBIAN_MIRROR to the base URL of a mirror that\n"
        "has it. If every mirror has dropped it, lock again: bazel run //third_party/bazel:lock"
    )
