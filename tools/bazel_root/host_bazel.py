"""Find a Bazel of the user's own that can do this build: `bazel` or `bazelisk`, version 7 or 8."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from tools.cli import ToolError

PRIVATE = "private"
_NAMES = ("bazel", "bazelisk")
_SUITABLE = frozenset([7, 8])
_PROBE_TIMEOUT = 60  # seconds: bazelisk fetches Bazel at its first start
_FORGET_FAILURE = 3600  # seconds


def find_host_bazel(environ: Mapping[str, str], *, cache: Path, workspace: Path) -> str | None:
    """Return the path of the Bazel to use, or None for the private root.

    `BAZELW_BAZEL` decides when it is set: "private", or a path that is used without being probed.
    Raise ToolError if that path cannot be executed.
    """
    chosen = environ.get("BAZELW_BAZEL", "")
    if chosen == PRIVATE:
        return None
    if chosen:
        path = _executable(chosen, environ)
        if path is None:
            raise ToolError(
                f"BAZELW_BAZEL: {chosen!r} is not an executable file; set it to the path of a "
                f"Bazel 7 or 8, or to '{PRIVATE}' for the one that bazelw installs itself"
            )
        return path
    for name in _NAMES:
        path = _executable(name, environ)
        if path is None or os.path.basename(os.path.realpath(path)) == "bazelw":
            continue  # none, or a link to a launcher like this one, which would start itself
        if _major(path, environ, cache=cache, workspace=workspace) in _SUITABLE:
            return path
    return None


def _executable(name: str, environ: Mapping[str, str]) -> str | None:
    """Find a program as the shell does; importing shutil.which costs every start 2 ms."""
    directories = [""] if "/" in name else environ.get("PATH", os.defpath).split(os.pathsep)
    for directory in directories:
        path = os.path.abspath(os.path.join(directory, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _major(path: str, environ: Mapping[str, str], *, cache: Path, workspace: Path) -> int | None:
    """Return the major version, cached until the program or the requested version changes."""
    import hashlib
    import time

    from tools.archive.atomic import replace_files
    from tools.bazel_root.ownership import check_owned, private_cache

    found = os.stat(path)
    identity = [os.path.realpath(path), found.st_mtime_ns, found.st_size, found.st_ino]
    identity += [environ.get("USE_BAZEL_VERSION", ""), _read(workspace / ".bazelversion")]
    name = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
    note = cache / "probes" / name
    try:
        check_owned(note.parent)
        remembered = note.read_text(encoding="ascii")
        if remembered or time.time() - note.stat().st_mtime < _FORGET_FAILURE:
            return int(remembered) if remembered else None
    except (OSError, ValueError, ToolError):
        pass
    major = probe(path, workspace=workspace)
    try:
        private_cache(cache)
        note.parent.mkdir(exist_ok=True)
        check_owned(note.parent)
        replace_files({note: b"" if major is None else b"%d" % major})
    except (OSError, ToolError):
        pass  # in a sandbox the cache is read-only, or it is not ours: probe again next time
    return major


def probe(path: str, *, workspace: Path) -> int | None:
    """Ask a Bazel for its version, without starting a server; or None if it does not say."""
    import subprocess

    try:
        result = subprocess.run(
            [path, "--version"],
            cwd=workspace,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    match = re.search(r"^bazel (\d+)\.", result.stdout, flags=re.MULTILINE)
    return int(match.group(1)) if match and result.returncode == 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
