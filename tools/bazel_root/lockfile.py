"""Read the packages of the private root from `third_party/bazel/root.lock.json`.

tools/apt/lockfile.py defines the format. This reader is separate because it runs on the machine's
own Python, before the pinned one is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError, parse_json

VERSION = 1


@dataclass(frozen=True)
class RootPackage:
    """One package file: where it is in its archive and what it must be; `size` in bytes."""

    name: str
    version: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True)
class RootLock:
    """The packages for one architecture, and the time at which the permanent archive has them."""

    snapshot: str
    packages: tuple[RootPackage, ...]


def parse_lock(text: str, *, arch: str, of: Path) -> RootLock:
    """Parse a lock; raise ToolError, naming `of`, if it is invalid or not for `arch`."""
    try:
        data = parse_json(text)
        if data["version"] != VERSION:
            raise ToolError(f"{of}: version is {data['version']!r}, expected {VERSION}")
        packages = tuple(
            RootPackage(
                name=str(entry["name"]),
                version=str(entry["version"]),
                filename=str(entry["filename"]),
                size=int(entry["size"]),
                sha256=str(entry["sha256"]),
            )
            for entry in data["packages"]
            if entry["arch"] == arch
        )
        snapshot = str(data["snapshot"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{of}: is not a package lock ({type(error).__name__}: {error}); restore it from "
            "version control"
        ) from error
    if not packages:
        raise ToolError(f"{of}: has no packages for {arch}")
    return RootLock(snapshot, packages)
