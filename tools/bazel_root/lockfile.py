"""Reads and writes `third_party/bazel/root.lock.json`, the pinned packages of Bazel's private root."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.bazel_root.errors import BazelRootError

VERSION = 1


@dataclass(frozen=True)
class LockedPackage:
    """One package file: where it is in its archive and what it must hash to; `size` in bytes."""

    name: str
    arch: str
    version: str
    archive: str
    filename: str
    size: int
    sha256: str
    source: str
    depends: tuple[str, ...]


@dataclass(frozen=True)
class RootLock:
    """The whole lock; `mtime` is the snapshot's time in Unix seconds."""

    snapshot: str
    mtime: int
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]
    packages: tuple[LockedPackage, ...]

    def select(self, arch: str) -> tuple[LockedPackage, ...]:
        """Returns the packages of one architecture, in the order of their names."""
        return tuple(package for package in self.packages if package.arch == arch)


def parse_lock(text: str, *, of: Path) -> RootLock:
    """Parses a lock; raises BazelRootError naming `of` when it is not one."""
    try:
        data: dict[str, Any] = json.loads(text)
        if data["version"] != VERSION:
            raise BazelRootError(
                f"{of}: version {data['version']!r} of the lock format; this program reads {VERSION}"
            )
        packages = tuple(
            LockedPackage(**{**entry, "depends": tuple(entry["depends"])}) for entry in data["packages"]
        )
        groups = {
            name: {arch: tuple(names) for arch, names in by_arch.items()}
            for name, by_arch in data["groups"].items()
        }
        return RootLock(str(data["snapshot"]), int(data["mtime"]), groups, packages)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BazelRootError(
            f"{of}: not a lock of packages ({type(error).__name__}: {error}); "
            "restore it from version control, or write it again with tools/bazel_root/lock.py"
        ) from error


def render_lock(lock: RootLock) -> str:
    """Renders a lock: sorted, indented by two spaces, the same bytes for the same content."""
    data = {
        "version": VERSION,
        "snapshot": lock.snapshot,
        "mtime": lock.mtime,
        "groups": {
            name: {arch: sorted(names) for arch, names in by_arch.items()}
            for name, by_arch in lock.groups.items()
        },
        "packages": [
            asdict(package) for package in sorted(lock.packages, key=lambda p: (p.name, p.arch))
        ],
    }
    return json.dumps(data, indent=2, sort_keys=True) + "\n"
