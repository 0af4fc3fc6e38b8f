"""Debian's own packages about support → findings: which sources, and until when each suite.

`debian-security-support` lists source packages whose support has ended or is limited,
`distro-info-data` has the dates of each release. Both are read from their .deb files, which the
lock pins like any other package. The lists of Debian 12 are one of sources whose support ended, for
each release, and one of limited sources, for all; Debian 13 has one for each release, with both.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tools.archive import deb
from tools.audit.findings import Component, Finding, Severity
from tools.cli import ToolError

_LISTS = "usr/share/debian-security-support"
_RELEASES = "usr/share/distro-info/debian.csv"


@dataclass(frozen=True)
class Ended:
    """A line about a source without support since `day`, last for `version`."""

    version: str
    day: date
    reason: str


@dataclass(frozen=True)
class Release:
    """When support of a Debian release ends; None where Debian has not said so yet."""

    number: str
    series: str
    regular: date | None
    long_term: date | None


@dataclass(frozen=True)
class Support:
    """What Debian says, by the number of a release; of `limited`, "" is every release.

    The names of sources are regular expressions; `supported` has exceptions to them.
    """

    releases: Mapping[str, Release]
    ended: Mapping[str, Mapping[str, Ended]]
    limited: Mapping[str, Mapping[str, str]]
    supported: Mapping[str, frozenset[str]]

    def release(self, series: str) -> Release:
        """Return a release by its code name; raise ToolError for one that Debian does not have."""
        if series not in self.releases:
            raise ToolError(
                f"{_RELEASES} of distro-info-data does not have {series!r}; update that package"
            )
        return self.releases[series]


def read_support(debs: Iterable[Path]) -> Support:
    """Read the packages; raise ToolError for a missing or a malformed file, naming it."""
    ended: dict[str, Mapping[str, Ended]] = {}
    limited: dict[str, Mapping[str, str]] = {}
    supported: dict[str, frozenset[str]] = {}
    releases: Mapping[str, Release] | None = None
    names = []
    for path in debs:
        names.append(path.name)
        for name, content in _files(path).items():
            try:
                text = content.decode("utf-8")
                if name == _RELEASES:
                    releases = _releases(text)
                elif name == f"{_LISTS}/security-support-limited":
                    limited[""] = dict(_limited(text))
                elif name.startswith(f"{_LISTS}/security-support-ended.deb"):
                    ended[name.rpartition(".deb")[2]] = dict(_ended(text))
                elif name.startswith(f"{_LISTS}/security-support.deb"):
                    number = name.rpartition(".deb")[2]
                    of = _by_status(text)
                    ended[number] = dict(_ended(of["non-supported"]))
                    limited[number] = dict(_limited(of["limited"]))
                    supported[number] = frozenset(dict(_limited(of["supported"])))
            except (ValueError, KeyError) as error:
                raise ToolError(f"{path}: {name}: {error}") from error
    if releases is None or not limited or not ended:
        raise ToolError(
            f"no lists of debian-security-support and distro-info-data in: {', '.join(names)}"
        )
    return Support(releases=releases, ended=ended, limited=limited, supported=supported)


def _files(path: Path) -> dict[str, bytes]:
    found = {}
    with deb.data_tar(path) as tar:
        for info in tar:
            name = deb.relative_path(info.name, of=path)
            stream = tar.extractfile(info) if info.isreg() else None
            if stream is not None and (name == _RELEASES or name.startswith(f"{_LISTS}/security")):
                found[name] = stream.read()
    return found


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _by_status(text: str) -> dict[str, str]:
    """Return the lines of each status, without it."""
    found = {"limited": "", "non-supported": "", "supported": ""}
    for line in _lines(text):
        name, status, *rest = line.split(maxsplit=2)
        if status not in found:
            raise ValueError(f"{status!r} is none of {', '.join(found)}")
        found[status] += " ".join((name, *rest)) + "\n"
    return found


def _ended(text: str) -> Iterator[tuple[str, Ended]]:
    for line in _lines(text):
        name, version, day, *reason = line.split(maxsplit=3)
        _ = re.compile(name)
        yield name, Ended(version, date.fromisoformat(day), " ".join(reason).strip())


def _limited(text: str) -> Iterator[tuple[str, str]]:
    for line in _lines(text):
        name, *reason = line.split(maxsplit=1)
        _ = re.compile(name)
        yield name, " ".join(reason).strip()


def _releases(text: str) -> dict[str, Release]:
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        dates = [date.fromisoformat(value) if (value := row.get(key)) else None for key in _DATES]
        found[row["series"]] = Release(row["version"], row["series"], dates[0], dates[1])
    return found


_DATES = ("eol", "eol-lts")


def package_findings(
    packages: Iterable[Component], support: Support, *, release: Release, today: date
) -> Iterator[Finding]:
    """Yield a finding for each package whose source has no or limited support at `today`.

    A source that is listed as ended counts whatever its version, as for check-support-status.
    """
    ended = support.ended.get(release.number, {})
    limited = {**support.limited.get("", {}), **support.limited.get(release.number, {})}
    supported = support.supported.get(release.number, frozenset())
    for package in packages:
        if any(re.fullmatch(name, package.source) for name in supported):
            continue
        for name, entry in ended.items():
            if re.fullmatch(name, package.source) and entry.day <= today:
                yield Finding(
                    "support-ended",
                    Severity.MEDIUM,
                    package,
                    f"source {package.source}: no security support since {entry.day}"
                    + (f": {entry.reason}" if entry.reason else ""),
                    next_step="exclude it, replace it, or move to a newer suite",
                )
        for name, reason in limited.items():
            if re.fullmatch(name, package.source):
                yield Finding(
                    "support-limited",
                    Severity.LOW,
                    package,
                    f"source {package.source}: limited support: {reason}",
                )


def suite_findings(release: Release, suite: Component, *, today: date) -> Iterator[Finding]:
    """Yield what is to be said of the suite's own support."""
    if release.regular is None or today <= release.regular:
        return
    if release.long_term is not None and today > release.long_term:
        yield Finding(
            "end-of-life",
            Severity.HIGH,
            suite,
            f"regular support ended on {release.regular}, long-term support on {release.long_term}",
            next_step="move to a newer suite",
        )
        return
    until = release.long_term or "a day that Debian has not announced"
    yield Finding(
        "end-of-life",
        Severity.LOW,
        suite,
        f"regular support ended on {release.regular}; long-term support until {until}",
        next_step="plan the move to a newer suite",
    )
