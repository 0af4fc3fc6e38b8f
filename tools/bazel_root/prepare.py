"""Build the private root at the first start; report full disks and the like with the next step."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tools.apt.mirrors import archive_urls
from tools.bazel_root.build import build_root
from tools.bazel_root.lockfile import parse_lock
from tools.bazel_root.trust import host_bundles
from tools.cli import ToolError

if TYPE_CHECKING:
    import ssl

_SNAPSHOT = "https://snapshot.debian.org/archive/debian"


def prepare(
    root: Path, *, cache: Path, arch: str, lock_file: Path, environ: Mapping[str, str]
) -> None:
    """Make `root` from the lock; raise ToolError with the next step."""
    # The root is the same whatever the user's umask: others may have to read it, as when root's
    # test runs a program as somebody else.
    umask = os.umask(0o022)
    try:
        lock = parse_lock(lock_file.read_text(encoding="utf-8"), arch=arch, of=lock_file)
        mirrors = [*archive_urls("debian", environ=environ), f"{_SNAPSHOT}/{lock.snapshot}"]
        build_root(
            root,
            cache=cache,
            packages=lock.packages,
            arch=arch,
            mirrors=mirrors,
            context=tls_context(environ),
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ToolError(
                f"no space left in {cache}: the root takes about 450 MB with its packages; make "
                "room, or set XDG_CACHE_HOME to a directory on another disk"
            ) from error
        raise ToolError(
            f"cannot prepare Bazel in {cache}: {error}; set XDG_CACHE_HOME to a directory that you "
            "may write"
        ) from error
    finally:
        os.umask(umask)


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return a context that trusts whom the user's variables and the host trust."""
    try:
        import ssl
    except ImportError:
        return None  # this Python has no TLS; mirrors are mostly http, and hashes are what counts
    context = ssl.create_default_context()
    for bundle in host_bundles(environ):
        # A file that is not a certificate bundle adds nothing; downloads then name the problem.
        with contextlib.suppress(ssl.SSLError):
            context.load_verify_locations(cadata=bundle.decode("ascii", "ignore"))
    return context
