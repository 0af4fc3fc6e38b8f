"""Debian packages that moved and the .debs of the newer versions → the CVEs that changelogs name.

    changelogs = Changelogs(debs)
    changelogs.cves([Move("libssl3", old, new), ...])

An image has no changelogs; they are in the .debs that it was made from. Packages of one source have
one changelog, so the smallest .deb of a source is read. A symbolic link in place of a package's
documentation leads to that of another package of the same source.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.apt import versions
from tools.archive import deb
from tools.cli import ToolError
from tools.verify.packages import Source

_CVE = re.compile(r"CVE-\d{4}-\d{4,}")
# deb-changelog(5): `package (version) distributions; metadata`, at the beginning of a line.
_ENTRY = re.compile(r"^[^\s(]+ \(([^()\s]+)\) [^;\n]*;", re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """A package as an image has it."""

    version: str
    source: Source


@dataclass(frozen=True)
class Move:
    """A Debian package that is in both images, in two versions."""

    name: str
    old: Installed
    new: Installed

    @property
    def forward(self) -> bool:
        """Whether the new image has the newer version."""
        return versions.compare(self.old.version, self.new.version) < 0

    @property
    def newer(self) -> Installed:
        """The newer of the two."""
        return self.new if self.forward else self.old

    @property
    def older(self) -> Installed:
        """The older of the two."""
        return self.old if self.forward else self.new


class Changelogs:
    """The changelogs of some .deb files, read when they are asked for."""

    def __init__(self, debs: Iterable[Path]) -> None:
        self._debs: dict[str, list[Path]] = {}
        for path in debs:
            self._debs.setdefault(path.name.partition("_")[0], []).append(path)

    def cves(self, moves: Iterable[Move]) -> Mapping[str, tuple[str, ...] | None]:
        """Return the CVEs between each move's versions; None where the .deb is not there."""
        groups: dict[Source, list[Move]] = {}
        for move in moves:
            groups.setdefault(move.newer.source, []).append(move)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            texts = dict(zip(groups, pool.map(self._changelog, groups.values()), strict=True))
        return {
            move.name: None if text is None else named(text, since=move.older.source.version)
            for source, text in texts.items()
            for move in groups[source]
        }

    def _changelog(self, moves: list[Move]) -> str | None:
        """Return the changelog of packages of one source, from the first .deb that has it."""
        found = [
            (path.stat().st_size, path, move.name)
            for move in moves
            for path in self._debs.get(move.name, [])
            if path.exists() and deb.control_fields(path)["version"] == move.newer.version
        ]
        for _, path, name in sorted(found):
            text = read_changelog(path, name)
            if text is not None:
                return text
        return None


def read_changelog(path: Path, name: str) -> str | None:
    """Return Debian's changelog in a .deb, None if it has none; raise ToolError."""
    directory = f"usr/share/doc/{name}"
    # A package that exists in Debian only has the first name for upstream's changelog.
    wanted = (f"{directory}/changelog.Debian.gz", f"{directory}/changelog.gz")
    found: dict[str, bytes] = {}
    with deb.data_tar(path) as tar:
        for info in tar:
            member = deb.relative_path(info.name, of=path)
            stream = tar.extractfile(info) if member in wanted and info.isreg() else None
            if stream is not None:
                found[member] = stream.read()
    for member in wanted:
        if member in found:
            try:
                return gzip.decompress(found[member]).decode("utf-8", "replace")
            except (OSError, EOFError, zlib.error) as error:
                raise ToolError(f"{path}: {member}: cannot be read: {error}") from error
    return None


def named(changelog: str, *, since: str) -> tuple[str, ...]:
    """Return the CVEs that the entries above a version name, sorted."""
    entries = list(_ENTRY.finditer(changelog))
    end = len(changelog)
    for entry in entries:
        try:
            if versions.compare(entry[1], since) <= 0:
                end = entry.start()
                break
        except ValueError:
            continue
    found = set(_CVE.findall(changelog[:end]))
    return tuple(sorted(found, key=lambda cve: [int(part) for part in cve.split("-")[1:]]))
