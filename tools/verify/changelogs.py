"""Debian packages that moved and the .debs of the newer versions → the CVEs that changelogs name.

    changelogs = Changelogs(debs)
    changelogs.cves([Move("libssl3", old, new), ...])

An image has no changelogs; they are in the .debs that it was made from. Packages of one source have
one changelog, so the smallest .deb of a source is read. A symbolic link in place of a package's
documentation leads to that of another package of the same source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.apt import versions
from tools.apt.changelog import named, read_changelog
from tools.archive import deb
from tools.verify.packages import Source


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
