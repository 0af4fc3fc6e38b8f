"""The lock of Debian packages: what the lock command writes and everybody else reads.

JSON with sorted keys and a fixed layout, so that the same resolution is the same file. Hosts are
not in it: `filename` is relative to an archive, and `snapshot` is the moment to ask the permanent
archive (snapshot.debian.org) for. `command` is what makes the lock anew; errors quote it.
`releases` names the signed index of each suite: none may be replaced by an older one, and from them
anyone can make the lock again. A lock from before they were recorded has none.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from tools.cli import ToolError, parse_json

VERSION = 1
SNAPSHOT_FORMAT = "%Y%m%dT%H%M%SZ"

# snapshot.debian.org answers with the newest state not later than the asked time, and takes a state
# a while after the archive signs it. Half a day later the signed state is there for certain, and
# the pool still has its files: the archive keeps a superseded one for longer than that.
_SNAPSHOT_DELAY = timedelta(hours=12)


# Its states are hours apart, and one that the archive has replaced is not the newest for long. The
# first of these times after a Date for which there is a state has the index of that Date.
_SNAPSHOT_STEPS_HOURS = (3, 6, 9, 12, 18, 24)
_SNAPSHOT = "https://snapshot.debian.org/archive"


def snapshot_time(signed: datetime) -> datetime:
    """Return the moment for which the permanent archive has a state signed at `signed`."""
    return signed + _SNAPSHOT_DELAY


@dataclass(frozen=True, order=True)
class LockedPackage:
    """One .deb. `arch` is the architecture it is locked for, also when the .deb is for `all`.

    `snapshot` is the moment to ask the permanent archive for where it is not the lock's: of a
    version that an update kept after the archive had replaced it.
    """

    name: str
    arch: str
    version: str
    archive: str
    filename: str
    size: int
    sha256: str
    source: str
    depends: tuple[str, ...]
    snapshot: str = ""


@dataclass(frozen=True, order=True)
class LockedRelease:
    """The InRelease of a suite: its Date, as SNAPSHOT_FORMAT has it, and its SHA256."""

    archive: str
    suite: str
    date: str
    sha256: str

    @property
    def moment(self) -> datetime:
        """The Date; raise ValueError when it is not one."""
        return datetime.strptime(self.date, SNAPSHOT_FORMAT).replace(tzinfo=UTC)


def permanent_urls(release: LockedRelease) -> list[str]:
    """Return the base URLs of the permanent archive that may still have a superseded index."""
    moments = (release.moment + timedelta(hours=hours) for hours in _SNAPSHOT_STEPS_HOURS)
    return [permanent_base(release.archive, at.strftime(SNAPSHOT_FORMAT)) for at in moments]


def permanent_base(archive: str, moment: str) -> str:
    """Return the base URL of an archive as the permanent archive had it at a moment."""
    return f"{_SNAPSHOT}/{archive}/{moment}"


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
    command: str = ""
    releases: tuple[LockedRelease, ...] = ()

    def release(self, *, archive: str, suite: str) -> LockedRelease | None:
        """Return what is recorded of a suite's index, None when nothing is."""
        for release in self.releases:
            if (release.archive, release.suite) == (archive, suite):
                return release
        return None

    def package(self, name: str, *, arch: str) -> LockedPackage:
        """Return one package; raise ToolError when it is not locked for `arch`."""
        for package in self.packages:
            if package.name == name and package.arch == arch:
                return package
        raise ToolError(f"package {name!r} is not locked for {arch}")

    def is_tool(self, name: str, *, arch: str) -> bool:
        """Return whether a package is in groups of `tools` alone, and so never in the image."""
        return not any(name in self.groups[group].get(arch, ()) for group in self.image_groups)

    def image(self, arch: str, groups: Iterable[str] | None = None) -> dict[str, LockedPackage]:
        """Return the packages of the image, or of an image of other groups, by name.

        Raise ToolError for a group that the lock does not have.
        """
        names: set[str] = set()
        for group in self.image_groups if groups is None else groups:
            if arch not in self.groups.get(group, {}):
                known = ", ".join(sorted(self.groups))
                raise ToolError(f"no group {group!r} for {arch}; the groups are {known}")
            names.update(self.groups[group][arch])
        return {
            package.name: package
            for package in self.packages
            if package.arch == arch and package.name in names
        }


def encode(lock: Lock) -> str:
    """Return the text of `lock`; the same lock is always the same text."""
    data = {
        "command": lock.command,
        "version": VERSION,
        "snapshot": lock.snapshot,
        "mtime": lock.mtime,
        "intent_sha256": lock.intent_sha256,
        "image_groups": list(lock.image_groups),
        "groups": {
            group: {arch: list(names) for arch, names in by_arch.items()}
            for group, by_arch in lock.groups.items()
        },
        "releases": [vars(release) for release in sorted(lock.releases)],
        "packages": [_entry(package) for package in sorted(lock.packages)],
        "excluded_packages": dict(lock.excluded_packages),
        "excluded_versions": {arch: dict(names) for arch, names in lock.excluded_versions.items()},
        "excluded_paths": [vars(rule) for rule in lock.excluded_paths],
    }
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _entry(package: LockedPackage) -> dict[str, Any]:
    entry = {**vars(package), "depends": list(package.depends)}
    if not package.snapshot:
        del entry["snapshot"]
    return entry


def decode(text: str) -> Lock:
    """Return the lock in `text`; raise ToolError when it is not one of this version."""
    try:
        data: dict[str, Any] = parse_json(text)
        if data["version"] != VERSION:
            raise ToolError(f"is of version {data['version']!r}, wanted {VERSION}")
        releases = tuple(LockedRelease(**release) for release in data.get("releases", []))
        for release in releases:
            _ = release.moment
        lock = Lock(
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
            command=data.get("command", ""),
            releases=releases,
        )
        if wrong := _wrong(lock, Lock):
            raise ToolError(f"is not a lock: {wrong}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ToolError(f"is not a lock: {error!r}") from error
    return lock


def _wrong(value: Any, kind: Any, name: str = "lock") -> str | None:
    """Return what in a value is not of the type that its annotation says, None if all is."""
    parts: Iterable[tuple[Any, Any, str]] = ()
    wanted = get_origin(kind) or kind
    if is_dataclass(kind):
        parts = ((getattr(value, each), hint, each) for each, hint in get_type_hints(kind).items())
    elif wanted is tuple:
        parts = ((each, get_args(kind)[0], name) for each in value)
    elif wanted is Mapping and isinstance(value, dict):
        parts = ((each, get_args(kind)[1], name) for each in value.values())
    elif type(value) is not wanted:
        return f"{name} is {value!r}"
    return next(filter(None, (_wrong(*each) for each in parts)), None)


def read_lock(path: Path) -> Lock:
    """Return the lock in the file `path`; raise ToolError naming it and the way out."""
    try:
        return decode(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ToolError) as error:
        raise ToolError(
            f"{path}: {error}; restore it, or make it anew with the lock target beside it"
        ) from error
