"""The lock of Debian packages: what the lock command writes and everybody else reads.

JSON with sorted keys and a fixed layout, so that the same resolution is the same file. Hosts are
not in it: `filename` is relative to an archive, and `snapshot` is the moment to ask the permanent
archive (snapshot.debian.org) for, which whoever makes the lock chooses.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
SNAPSHOT_FORMAT = "%Y%m%dT%H%M%SZ"


class LockError(Exception):
    """A lock that cannot be used; the message names the file and the command that renews it."""


@dataclass(frozen=True, order=True)
class LockedPackage:
    """One .deb. `arch` is the architecture it is locked for, also when the .deb is for `all`."""

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
class ExcludedPath:
    """Files of the image's packages that stay out of its layers."""

    glob: str
    reason: str


@dataclass(frozen=True)
class Lock:
    """The whole lock; `groups` and `excluded_versions` are by name or architecture, as written."""

    snapshot: str
    mtime: int
    intent_sha256: str
    image_groups: tuple[str, ...]
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]
    packages: tuple[LockedPackage, ...]
    excluded_packages: Mapping[str, str]
    excluded_versions: Mapping[str, Mapping[str, str]]
    excluded_paths: tuple[ExcludedPath, ...]

    def package(self, name: str, *, arch: str) -> LockedPackage:
        """Return one package; raises LockError when it is not locked for `arch`."""
        for package in self.packages:
            if package.name == name and package.arch == arch:
                return package
        raise LockError(f"package {name!r} is not locked for {arch}")

    def image(self, arch: str) -> dict[str, LockedPackage]:
        """Return the packages of the image, by name."""
        names = {name for group in self.image_groups for name in self.groups[group][arch]}
        return {
            package.name: package
            for package in self.packages
            if package.arch == arch and package.name in names
        }


def encode(lock: Lock) -> str:
    """Return the text of `lock`; the same lock is always the same text."""
    data = {
        "version": VERSION,
        "snapshot": lock.snapshot,
        "mtime": lock.mtime,
        "intent_sha256": lock.intent_sha256,
        "image_groups": list(lock.image_groups),
        "groups": {
            group: {arch: list(names) for arch, names in by_arch.items()}
            for group, by_arch in lock.groups.items()
        },
        "packages": [
            {**vars(package), "depends": list(package.depends)} for package in sorted(lock.packages)
        ],
        "excluded_packages": dict(lock.excluded_packages),
        "excluded_versions": {arch: dict(names) for arch, names in lock.excluded_versions.items()},
        "excluded_paths": [vars(rule) for rule in lock.excluded_paths],
    }
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def decode(text: str) -> Lock:
    """Return the lock in `text`; raises LockError when it is not one of this version."""
    try:
        data: dict[str, Any] = json.loads(text)
        if data["version"] != VERSION:
            raise LockError(f"is of version {data['version']!r}, wanted {VERSION}")
        return Lock(
            snapshot=data["snapshot"],
            mtime=data["mtime"],
            intent_sha256=data["intent_sha256"],
            image_groups=tuple(data["image_groups"]),
            groups={
                group: {arch: tuple(names) for arch, names in by_arch.items()}
                for group, by_arch in data["groups"].items()
            },
            packages=tuple(
                LockedPackage(**{**package, "depends": tuple(package["depends"])})
                for package in data["packages"]
            ),
            excluded_packages=data["excluded_packages"],
            excluded_versions=data["excluded_versions"],
            excluded_paths=tuple(ExcludedPath(**rule) for rule in data["excluded_paths"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LockError(f"is not a lock: {error!r}") from error


def read_lock(path: Path) -> Lock:
    """Return the lock in the file `path`; raises LockError naming it and the way out."""
    try:
        return decode(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, LockError) as error:
        raise LockError(
            f"{path}: {error}; write it anew with: bazel run //third_party/debian:lock"
        ) from error
