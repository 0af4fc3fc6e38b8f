"""What the signed indexes offer for the packages of a lock: the newest version of each, by suite.

    {"releases": [...], "packages": {"amd64": {"libc6": {"debian bookworm": "2.36-9+deb12u13"}}}}

The lock command writes this file beside the lock, from indexes that it has verified, so that what
is behind can be told later, offline: whole indexes are 18 MB, this is a line for each package.
`releases` names the indexes by Date and SHA256. The same indexes and names give the same bytes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.apt.index import Package, Release
from tools.apt.lockfile import SNAPSHOT_FORMAT, LockedRelease
from tools.apt.versions import compare
from tools.cli import ToolError

_VERSION = 1

Offers = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Available:
    """`offers` are versions by architecture, name and suite ("debian bookworm")."""

    releases: tuple[LockedRelease, ...]
    offers: Offers

    def newest(self, name: str, *, arch: str) -> tuple[str, str] | None:
        """Return the newest version and its suite; None for a package that no suite has.

        Of suites with the same version it is the security suite.
        """
        best: tuple[str, str] | None = None
        for suite, version in sorted(self.offers.get(arch, {}).get(name, {}).items()):
            if best is None or compare(version, best[0]) >= 0:
                best = (version, suite)
        return best


def locked_releases(releases: Iterable[Release]) -> tuple[LockedRelease, ...]:
    """Return what a lock records of indexes, sorted."""
    found = {
        LockedRelease(
            archive=release.suite.archive,
            suite=release.suite.name,
            date=release.date.strftime(SNAPSHOT_FORMAT),
            sha256=release.sha256,
        )
        for release in releases
    }
    return tuple(sorted(found))


def available(
    wanted: Iterable[tuple[str, str]],
    *,
    releases: Iterable[Release],
    packages: Mapping[str, Iterable[Package]],
) -> Available:
    """Return the newest version of each wanted (name, architecture) in each suite."""
    names: dict[str, set[str]] = {}
    for name, arch in wanted:
        names.setdefault(arch, set()).add(name)
    offers: dict[str, dict[str, dict[str, str]]] = {}
    for arch in sorted(names):
        found: dict[str, dict[str, str]] = {}
        for package in packages[arch]:
            if package.name in names[arch]:
                suites = found.setdefault(package.name, {})
                old = suites.get(package.suite)
                if old is None or compare(old, package.version) < 0:
                    suites[package.suite] = package.version
        offers[arch] = found
    return Available(releases=locked_releases(releases), offers=offers)


def encode_available(found: Available) -> str:
    """Return the text of the file: a line for each package, so that differences are readable."""
    releases = ",\n  ".join(json.dumps(vars(each), sort_keys=True) for each in found.releases)
    blocks = []
    for arch, names in sorted(found.offers.items()):
        lines = ",\n   ".join(
            f"{json.dumps(name)}: {json.dumps(suites, sort_keys=True)}"
            for name, suites in sorted(names.items())
        )
        blocks.append(f"{json.dumps(arch)}: {{\n   {lines}\n  }}")
    return (
        f'{{\n "packages": {{\n  {", ".join(blocks)}\n }},\n'
        f' "releases": [\n  {releases}\n ],\n "version": {_VERSION}\n}}\n'
    )


def read_available(path: Path) -> Available:
    """Return what `encode_available` wrote; raise ToolError naming the file and the way out."""
    try:
        data = json.loads(path.read_bytes())
        version = data["version"]
        releases = tuple(LockedRelease(**release) for release in data["releases"])
        for release in releases:
            _ = release.moment
        offers = {
            arch: {name: dict(suites) for name, suites in names.items()}
            for arch, names in data["packages"].items()
        }
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ToolError(
            f"{path}: is not what the suites offer: {error!r}; write it anew with the lock target"
            " and --refresh"
        ) from error
    if version != _VERSION:
        raise ToolError(f"{path}: is of version {version!r}, wanted {_VERSION}")
    return Available(releases=releases, offers=offers)
