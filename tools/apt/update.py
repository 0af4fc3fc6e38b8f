"""An update of a lock: what moves, what stays, and the table that people read.

    bazel run //third_party/debian:lock -- --update            # everything
    bazel run //third_party/debian:lock -- --update openssl    # one source package, or one package

A package that does not move keeps its version even if the archive has replaced it: its record is
then read from the locked .deb itself, whose SHA256 the lock has.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.apt import changelog
from tools.apt.fetch import first_good
from tools.apt.index import Package, parse_package
from tools.apt.lockfile import Lock, LockedPackage, permanent_base
from tools.apt.mirrors import SECURITY
from tools.apt.relations import Relation
from tools.apt.versions import compare, source_version
from tools.archive import deb
from tools.cli import ToolError

Mirrors = Mapping[str, Sequence[str]]
Records = Mapping[str, Sequence[Package]]
FetchDeb = Callable[[Package], Path]


def moving(old: Lock, names: Sequence[str], *, requested: Iterable[str]) -> frozenset[str]:
    """Return the packages that may move: those named, and all others of their source packages.

    `requested` are names that the intent asks for, which may be new. Raise ToolError for a name
    that is neither locked, as a package or a source, nor asked for.
    """
    sources = {package.name: package.source for package in old.packages}
    packages = set(sources) | set(requested)
    known = packages | set(sources.values())
    unknown = sorted(set(names) - known)
    if unknown:
        raise ToolError(
            f"--update: {', '.join(unknown)}: neither a package nor a source package of the lock"
        )
    wanted = set(names) | {sources[name] for name in names if name in sources}
    # Packages of one source depend on each other's exact version.
    together = {name for name, source in sources.items() if {name, source} & wanted}
    return frozenset(together | wanted & packages)


def keep_versions(
    packages: Records, old: Lock, *, moves: frozenset[str], fetch: FetchDeb
) -> dict[str, list[Package]]:
    """Return the archive's records with only the locked version of what does not move.

    Raise ToolError when a kept version is no longer in the archive's indexes and its .deb cannot be
    fetched.
    """
    kept = {(package.name, package.arch): package for package in old.packages}
    result: dict[str, list[Package]] = {}
    for arch, records in packages.items():
        wanted = {
            name: package
            for (name, of), package in kept.items()
            if of == arch and name not in moves
        }
        excluded = {
            name: version
            for name, version in old.excluded_versions.get(arch, {}).items()
            if name not in moves and name not in wanted
        }
        offered = {(record.name, record.version) for record in records}
        result[arch] = [
            record for record in records if _stays(record, wanted, excluded, offered=offered)
        ]
        found = {record.name for record in result[arch]}
        behind = [package for name, package in sorted(wanted.items()) if name not in found]
        # What a group leaves out is not locked, and so is newer than the kept packages of its
        # source, with which it agrees only in the versions that the archive has now.
        sources = {package.source for package in behind}
        result[arch] = [
            _unversioned(record, names=frozenset(wanted), within=True)
            if record.source in sources and record.name not in wanted
            else record
            for record in result[arch]
        ]
        result[arch] += [
            _unversioned(_record(package, old, fetch=fetch), names=frozenset(wanted), within=False)
            for package in behind
        ]
    return result


def _stays(
    record: Package,
    wanted: Mapping[str, LockedPackage],
    excluded: Mapping[str, str],
    *,
    offered: set[tuple[str, str]],
) -> bool:
    if record.name in wanted:
        return record.sha256 == wanted[record.name].sha256
    # Of what is left out, the lock has no hash: it stays only while the archive has it.
    version = excluded.get(record.name)
    return version is None or record.version == version or (record.name, version) not in offered


def _record(package: LockedPackage, old: Lock, *, fetch: FetchDeb) -> Package:
    snapshot = package.snapshot or old.snapshot
    pinned = Package(
        name=package.name,
        version=package.version,
        architecture=package.arch,
        archive=package.archive,
        filename=package.filename,
        size=package.size,
        sha256=package.sha256,
        source=package.source,
        snapshot=snapshot,
    )
    try:
        path = fetch(pinned)
    except ToolError as error:
        raise ToolError(
            f"{package.name} ({package.arch}) is to stay at {package.version}, which its suite no"
            f" longer has: {error}\nOr let it move: --update {package.name}"
        ) from error
    fields = {
        **deb.control_fields(path),
        "filename": package.filename,
        "size": str(package.size),
        "sha256": package.sha256,
    }
    return parse_package(fields, archive=package.archive, snapshot=snapshot)


def _unversioned(record: Package, *, names: frozenset[str], within: bool) -> Package:
    """Return a record that takes any version of what is in `names`, or of all that is not."""
    depends = tuple(
        tuple(
            Relation(each.name) if (each.name in names) is within else each for each in alternatives
        )
        for alternatives in record.depends
    )
    return replace(record, depends=depends)


class Debs:
    """Fetches .deb files into a directory, each once, checked by SHA256."""

    def __init__(self, directory: Path, *, mirrors: Mirrors, snapshot: str) -> None:
        """Ask `mirrors`, and then the permanent archive for its state at `snapshot`."""
        self._directory = directory
        self._mirrors = mirrors
        self._snapshot = snapshot

    def fetch(self, package: Package) -> Path:
        """Return the path of a package's .deb; raise ToolError when no mirror has it."""
        path = self._directory / f"{package.sha256}.deb"
        if path.exists():
            return path

        def wrong(content: bytes) -> str | None:
            found = hashlib.sha256(content).hexdigest()
            return None if found == package.sha256 else f"SHA256 is {found}, not {package.sha256}"

        moment = package.snapshot or self._snapshot
        bases = [*self._mirrors[package.archive], permanent_base(package.archive, moment)]
        content = first_good(
            [f"{base}/{package.filename}" for base in bases],
            what=package.filename,
            limit=package.size,
            check=wrong,
        )
        path.write_bytes(content)
        return path


@dataclass(frozen=True)
class Row:
    """A package that moved, came or went; None for a version that is not there.

    `cves` are those that the new version's changelog names since the old one, None if that cannot
    be told. `image` says whether it is in the image or for tools and tests only.
    """

    name: str
    architectures: tuple[str, ...]
    old: str | None
    new: str | None
    suite: str
    security: bool
    image: bool
    cves: tuple[str, ...] | None
    size: int
    growth: int


def rows(old: Lock | None, new: Lock, *, packages: Records, fetch: FetchDeb) -> list[Row]:
    """Return what an update changes; `packages` are the records it chose from.

    Raise ToolError when a new .deb cannot be fetched for its changelog.
    """
    before = {} if old is None else {(each.name, each.arch): each for each in old.packages}
    after = {(each.name, each.arch): each for each in new.packages}
    chosen = {
        (record.name, arch): record
        for arch, records in packages.items()
        for record in records
        if (record.name, arch) in after and record.sha256 == after[record.name, arch].sha256
    }
    moves: dict[tuple[str, str | None, str | None], list[str]] = {}
    for name, arch in sorted(before.keys() | after.keys()):
        was, now = before.get((name, arch)), after.get((name, arch))
        versions = (was.version if was else None, now.version if now else None)
        if versions[0] != versions[1]:
            moves.setdefault((name, *versions), []).append(arch)
    changelogs = _changelogs(
        [chosen[name, archs[0]] for (name, was, now), archs in moves.items() if was and now],
        fetch=fetch,
    )
    return [
        _row(
            (name, was, now),
            tuple(archs),
            entries=([before.get((name, a)) for a in archs], [after.get((name, a)) for a in archs]),
            lock=new if now else (old or new),
            record=chosen.get((name, archs[0])),
            changelogs=changelogs,
        )
        for (name, was, now), archs in moves.items()
    ]


def _row(
    move: tuple[str, str | None, str | None],
    archs: tuple[str, ...],
    *,
    entries: tuple[Sequence[LockedPackage | None], Sequence[LockedPackage | None]],
    lock: Lock,
    record: Package | None,
    changelogs: Mapping[tuple[str, str], str | None],
) -> Row:
    name, was, now = move
    sizes = [sum(entry.size for entry in side if entry is not None) for side in entries]
    cves: tuple[str, ...] | None = ()
    if was and now and record is not None:
        text = changelogs[record.source, record.version]
        cves = _named(text, since=was, until=now) if compare(was, now) < 0 else None
    return Row(
        name=name,
        architectures=archs,
        old=was,
        new=now,
        suite=record.suite if record else "",
        security=record is not None and record.archive == SECURITY,
        image=not all(lock.is_tool(name, arch=arch) for arch in archs),
        cves=cves,
        size=sizes[1],
        growth=sizes[1] - sizes[0],
    )


def _named(text: str | None, *, since: str, until: str) -> tuple[str, ...] | None:
    """Return the CVEs between two versions; None if the changelog does not have the newer one.

    A binary package may have versions of its own, which the source's changelog does not know.
    """
    if text is None or f"({source_version(until)})" not in text:
        return None
    return changelog.named(text, since=source_version(since))


def _changelogs(
    records: Iterable[Package], *, fetch: FetchDeb
) -> dict[tuple[str, str], str | None]:
    """Return the changelog of each (source, version), from the smallest .deb that has it."""
    groups: dict[tuple[str, str], list[Package]] = {}
    for record in records:
        groups.setdefault((record.source, record.version), []).append(record)
    found: dict[tuple[str, str], str | None] = {}
    for key, members in groups.items():
        found[key] = None
        for record in sorted(members, key=lambda each: each.size):
            found[key] = changelog.read_changelog(fetch(record), record.name)
            if found[key] is not None:
                break
    return found


_HEADINGS = ("package", "old → new", "suite", "security", "bytes", "in", "CVEs fixed")
# A browser fixes two hundred at a time; Markdown, for a pull request, has all of them.
_SHOWN_CVES = 8


def table(found: Sequence[Row], *, markdown: bool) -> Iterator[str]:
    """Yield the lines of the table: security updates of the image first."""
    ordered = sorted(found, key=lambda row: (not row.image, not row.security, row.name))
    cells = [_HEADINGS, *_cells(ordered, shown=None if markdown else _SHOWN_CVES)]
    if markdown:
        yield f"| {' | '.join(_HEADINGS)} |"
        yield "|---|---|---|---|--:|---|---|"
        for row in cells[1:]:
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    else:
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield "  ".join(padded).rstrip()


def _cells(found: Sequence[Row], *, shown: int | None) -> Iterator[tuple[str, ...]]:
    first: dict[tuple[str, ...], str] = {}
    for row in found:
        cves = "changelog not known" if row.cves is None else " ".join(row.cves[:shown])
        if row.cves and shown is not None and len(row.cves) > shown:
            cves += f" and {len(row.cves) - shown} more"
        if row.cves:
            # Packages of one source have the same changelog.
            other = first.setdefault(row.cves, row.name)
            cves = cves if other == row.name else f"as {other}"
        yield (
            row.name + ("" if len(row.architectures) > 1 else f" ({row.architectures[0]})"),
            f"{row.old or 'absent'} → {row.new or 'absent'}",
            row.suite,
            "yes" if row.security else "no",
            f"{row.size:,} ({row.growth:+,})",
            "image" if row.image else "tools",
            cves,
        )
