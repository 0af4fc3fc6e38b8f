r"""Turn an intent (YAML) into a lock (JSON): every .deb by name and SHA256.

    bazel run //third_party/debian:lock              # write the lock anew
    bazel run //third_party/debian:lock -- --check   # only say whether it is stale
    bazel run //third_party/debian:lock -- --verify  # only say whether it is what it says it is
    bazel run //third_party/debian:lock -- --update [NAME…]   # what changes, as a table with CVEs
    bazel run //third_party/debian:lock -- --refresh  # write only what the suites offer

`debian_lock` in defs.bzl makes such a target. The same intent and the same state of the archive
give the same bytes, which is how a lock is verified: it is made again from the signed indexes that
it names. The clock is consulted only to see whether the archive still vouches for its index.
Nothing is written unless every step succeeded.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tools.apt.available import (
    Available,
    available,
    encode_available,
    locked_releases,
    read_available,
)
from tools.apt.compare_apt import Record, ask_apt, differences, encode_record, read_record
from tools.apt.index import Index, Package, Release, fetch_index, fetch_release
from tools.apt.intent import Group, Intent, read_intent
from tools.apt.lockfile import (
    SNAPSHOT_FORMAT,
    ExcludedPath,
    Lock,
    LockedPackage,
    LockedRelease,
    decode,
    encode,
    permanent_urls,
    read_lock,
    snapshot_time,
)
from tools.apt.mirrors import archive_urls
from tools.apt.resolver import Closure, Universe, resolve, universe
from tools.apt.signature import Verifier
from tools.apt.signing import unpacked_verifier
from tools.apt.update import Debs, keep_versions, moving, rows, table
from tools.apt.versions import compare
from tools.archive.atomic import replace_files
from tools.cli import ToolError, tool

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Archive:
    """What the archive says at one moment: its indexes, and every package by architecture.

    `packages` are those that may be chosen; an update that keeps versions has fewer.
    """

    releases: tuple[Release, ...]
    packages: Mapping[str, Sequence[Package]]
    indexes: tuple[Index, ...] = ()


def fetch_archive(
    intent: Intent,
    *,
    mirrors: Mapping[str, Sequence[str]],
    verifier: Verifier,
    recorded: Lock | None = None,
) -> Archive:
    """Fetch and verify every index that `intent` names; with `recorded`, those of that lock.

    Raise ToolError.
    """
    releases = []
    indexes = []
    packages: dict[str, list[Package]] = {arch: [] for arch in intent.architectures}
    for suite in intent.suites:
        urls, sha256 = mirrors[suite.archive], None
        if recorded is not None:
            wanted = recorded.release(archive=suite.archive, suite=suite.name)
            if wanted is None:
                raise ToolError(f"the lock does not record the index of {suite}; make it anew")
            urls, sha256 = [*urls, *permanent_urls(wanted)], wanted.sha256
        release = fetch_release(suite, mirrors=urls, verifier=verifier, recorded=sha256)
        releases.append(release)
        for arch in intent.architectures:
            index = fetch_index(release, arch=arch, mirrors=urls)
            packages[arch] += index.packages()
            indexes.append(index)
    return Archive(releases=tuple(releases), packages=packages, indexes=tuple(indexes))


def make_lock(intent: Intent, *, archive: Archive, command: str = "") -> Lock:
    """Return the lock that `intent` and the state of the archive give; `command` makes it anew.

    Raise ToolError when a closure cannot be resolved, and for an exclusion that excludes nothing or
    something asked for.
    """
    groups: dict[str, dict[str, tuple[str, ...]]] = {}
    excluded: dict[str, dict[str, str]] = {}
    used: set[str] = set()
    locked: list[LockedPackage] = []
    for arch in intent.architectures:
        known = universe(archive.packages[arch], architecture=arch)
        image = resolve(
            known,
            requested=intent.requested(),
            name="image",
            # Of a complete intent, what is excluded is not even looked at.
            without=intent.exclude_packages if intent.complete else (),
        )
        if intent.complete:
            _refuse_unnamed(intent, image, arch=arch)
        excluded[arch] = {
            name: package.version
            for name, package in image.packages.items()
            if name in intent.exclude_packages
        }
        used |= excluded[arch].keys() | image.omitted
        tools = _tool_closures(intent, known)
        for group in intent.tools:
            closure = tools[group.name]
            members = closure.reachable(group.packages, without=group.exclude_packages)
            groups.setdefault(group.name, {})[arch] = tuple(sorted(members))
            _add(locked, closure, arch=arch, names=members)
        for name, share in _image_groups(intent, image).items():
            groups.setdefault(name, {})[arch] = share
        _add(locked, image, arch=arch, names=set(image.packages) - set(excluded[arch]))
    idle = sorted(set(intent.exclude_packages) - used)
    if idle:
        raise ToolError(
            f"exclude_packages names {', '.join(idle)}, which nothing in the image needs; drop it"
        )
    snapshot = snapshot_time(max(release.date for release in archive.releases))
    timestamp = int(snapshot.timestamp()) if intent.timestamp is None else intent.timestamp
    return Lock(
        command=command,
        snapshot=snapshot.strftime(SNAPSHOT_FORMAT),
        mtime=timestamp,
        intent_sha256=intent.sha256,
        image_groups=tuple(group.name for group in intent.image),
        groups=groups,
        packages=tuple(sorted(locked)),
        excluded_packages=intent.exclude_packages,
        excluded_versions=excluded,
        excluded_paths=tuple(
            ExcludedPath(glob=rule.glob, reason=rule.reason) for rule in intent.exclude_paths
        ),
        releases=locked_releases(archive.releases),
    )


def _snapshot(releases: Sequence[Release]) -> str:
    return snapshot_time(max(release.date for release in releases)).strftime(SNAPSHOT_FORMAT)


def _image_groups(intent: Intent, image: Closure) -> dict[str, tuple[str, ...]]:
    """Give each package of the image to the earliest group whose requests need it.

    Raise ToolError for a package that only excluded packages need: it would be there for nothing.
    """
    excluded = intent.exclude_packages
    taken: set[str] = set()
    shares = {}
    for group in intent.image:
        _refuse_excluded_request(group, excluded)
        members = image.reachable(group.packages, without=excluded) - taken
        if intent.complete:
            members = set(group.packages)
        taken |= members
        shares[group.name] = tuple(sorted(members))
    idle = sorted(set(image.packages) - taken - set(excluded))
    if idle:
        raise ToolError(
            f"only excluded packages need {', '.join(idle)}; name them in exclude_packages too, or "
            "ask for them"
        )
    return shares


def _tool_closures(intent: Intent, known: Universe) -> dict[str, Closure]:
    """Resolve each tool group by itself, and see that every exclusion is of use to some group."""
    closures = {}
    asked, used = set(), set()
    for group in intent.tools:
        _refuse_excluded_request(group, group.exclude_packages)
        closure = resolve(known, requested=tuple(group.packages), name=group.name)
        closures[group.name] = closure
        # Groups share lists of exclusions, so a name may be idle in one of them.
        asked |= set(group.exclude_packages)
        used |= set(group.exclude_packages) & set(closure.packages)
    if asked != used:
        raise ToolError(
            f"tools: exclude_packages names {', '.join(sorted(asked - used))}, which nothing needs"
            f" on {known.architecture}; drop it"
        )
    return closures


def _add(locked: list[LockedPackage], closure: Closure, *, arch: str, names: set[str]) -> None:
    """Add packages to the lock; what another closure locked already gains its dependencies."""
    known = {(package.name, package.arch): package for package in locked}
    for name in names:
        package = closure.packages[name]
        old = known.get((name, arch))
        known[name, arch] = LockedPackage(
            name=name,
            arch=arch,
            version=package.version,
            archive=package.archive,
            filename=package.filename,
            size=package.size,
            sha256=package.sha256,
            source=package.source,
            snapshot=package.snapshot,
            # Closures may settle `a | b` differently; the lock is one list of packages.
            depends=tuple(sorted({*closure.depends[name], *(old.depends if old else ())})),
        )
    locked[:] = known.values()


def _refuse_excluded_request(group: Group, excluded: Mapping[str, str]) -> None:
    both = sorted(set(group.packages) & set(excluded))
    if both:
        raise ToolError(f"group {group.name!r} asks for {', '.join(both)} and excludes it as well")


def _refuse_unnamed(intent: Intent, image: Closure, *, arch: str) -> None:
    """Raise ToolError when the image has a package that a complete intent does not name."""
    unnamed = set(image.packages) - set(intent.requested())
    needs = [
        f"{name} depends on {needed}"
        for name, depends in sorted(image.depends.items())
        for needed in depends
        if needed in unnamed
    ]
    if needs:
        raise ToolError(
            f"image ({arch}): the intent is complete, but names neither in a group nor in "
            "exclude_packages what these need:\n  " + "\n  ".join(needs)
        )


def expired(archive: Archive, *, now: datetime) -> list[str]:
    """Return a sentence for each Release that the archive no longer vouches for at `now`."""
    return [reason for release in archive.releases if (reason := release.unfit(now=now))]


_LAGS = (
    "\nIt lags behind, or somebody replays old files: use another mirror; or remove the lock to go"
    " back in time"
)


def refuse_older_indexes(old: Sequence[LockedRelease], new: Sequence[LockedRelease]) -> None:
    """Raise ToolError when an index is older than one that was recorded of the same suite."""
    known: dict[tuple[str, str], LockedRelease] = {}
    for release in old:
        known.setdefault((release.archive, release.suite), release)
    older = [
        f"{release.archive} {release.suite}: the lock was made from the index of {was.date}, the"
        f" mirror has only that of {release.date}"
        for release in new
        if (was := known.get((release.archive, release.suite))) and release.moment < was.moment
    ]
    if older:
        raise ToolError("\n  ".join(older) + _LAGS)


def refuse_older(old: Lock, new: Lock, *, downgrades: Sequence[str] = ()) -> None:
    """Raise ToolError when an index, or a package not among `downgrades`, is older than in `old`.

    A mirror that lags behind or replays old files would else bring back what an update has fixed.
    """
    refuse_older_indexes(old.releases, new.releases)
    # What a lock without a record of its suites allows to be compared.
    if new.snapshot < old.snapshot:
        only = f"the mirror has only that of {new.snapshot}"
        raise ToolError(f"the lock was made from the archive of {old.snapshot}, {only}{_LAGS}")
    before = {(package.name, package.arch): package.version for package in old.packages}
    downgraded = [
        package
        for package in new.packages
        if package.name not in downgrades
        and compare(package.version, before.get((package.name, package.arch), package.version)) < 0
    ]
    if downgraded:
        names = dict.fromkeys(package.name for package in downgraded)
        raise ToolError(
            "packages would be downgraded:\n  "
            + "\n  ".join(
                f"{package.name} ({package.arch}) {before[package.name, package.arch]} →"
                f" {package.version}"
                for package in downgraded
            )
            + "\nIf the archive has really withdrawn the newer ones, pass "
            + " ".join(f"--allow-downgrade {name}" for name in names)
        )


def changes(old: Lock | None, new: Lock) -> list[str]:
    """Return what differs between two locks, a line each, for people; empty when nothing does."""
    if old is not None and encode(old) == encode(new):
        return []
    before = {} if old is None else {(p.name, p.arch): p for p in old.packages}
    after = {(p.name, p.arch): p for p in new.packages}
    lines = []
    if old is not None and old.snapshot != new.snapshot:
        lines.append(f"snapshot {old.snapshot} → {new.snapshot}")
    for name, arch in sorted(before.keys() | after.keys()):
        was, now = before.get((name, arch)), after.get((name, arch))
        version, newer = was.version if was else "absent", now.version if now else "absent"
        if version != newer:
            lines.append(f"{name} ({arch}) {version} → {newer}")
        elif was and now and was != now:
            lines += [
                f"{name} ({arch}) {version}: {field} {vars(was)[field]!r} → {value!r}"
                for field, value in vars(now).items()
                if vars(was)[field] != value
            ]
    return lines or ["something other than packages (groups, exclusions, indexes)"]


def _old_lock(path: Path) -> Lock | None:
    """Return the lock that is about to be replaced; None, with a warning, if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            return None  # as a new workspace has it
        old = decode(text)
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, ToolError) as error:
        print(f"warning: {path}: {error}; nothing can be compared with it", file=sys.stderr)
        return None
    if not old.releases:
        print(
            f"warning: {path} does not record the index of each suite; only the newest of them and"
            " the packages' versions are compared with it",
            file=sys.stderr,
        )
    return old


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Resolve the Debian packages of the intent and write their lock."
    )
    parser.add_argument("--intent", type=Path, required=True, help="YAML file to read")
    parser.add_argument("--lock", type=Path, required=True, help="JSON file to write")
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the lock is stale"
    )
    only.add_argument(
        "--verify",
        action="store_true",
        help="write nothing; exit 1 if the lock is not what the signed indexes that it names give",
    )
    only.add_argument(
        "--update",
        nargs="*",
        metavar="NAME",
        help="write the lock and print a table of what changes, with the CVEs that changelogs name;"
        " with names, only these packages or source packages move",
    )
    only.add_argument(
        "--refresh",
        action="store_true",
        help="leave the lock as it is and write only what the suites offer, for the audit",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table of --update as Markdown"
    )
    parser.add_argument(
        "--available",
        type=Path,
        help="JSON file to write beside the lock: what the suites offer for its packages",
    )
    parser.add_argument(
        "--record",
        type=Path,
        help="JSON file to write beside the lock: what apt itself chooses for the image",
    )
    parser.add_argument(
        "--apt-debs", type=Path, nargs="+", default=[], help="packages with apt, for --record"
    )
    parser.add_argument(
        "--command",
        default="",
        help="what people run to start this; errors about the lock quote it",
    )
    parser.add_argument(
        "--allow-expired",
        action="store_true",
        help="accept an index past its Valid-Until or the intent's max_age_days (an old mirror, or"
        " an attacker's replay)",
    )
    parser.add_argument(
        "--allow-downgrade",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="accept an older version of PACKAGE than the lock has; may be repeated",
    )
    parser.add_argument(
        "--signing-debs",
        type=Path,
        nargs="+",
        default=[],
        help="packages with gpgv and the archive's keys, to use instead of the host's",
    )
    parser.add_argument("--gpgv", default="gpgv", help="gpgv to run, without --signing-debs")
    parser.add_argument(
        "--keyring", type=Path, default=_KEYRING, help="keys to trust, without --signing-debs"
    )
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> int:
    # `bazel run` starts tools in their runfiles; people's paths are relative to the workspace.
    root = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    intent = read_intent(root / options.intent)
    path = root / options.lock
    names = {suite.archive for suite in intent.suites}
    mirrors = {name: archive_urls(name, environ=os.environ) for name in sorted(names)}
    with tempfile.TemporaryDirectory(prefix="lock-") as directory:
        if options.signing_debs:
            verifier = unpacked_verifier(options.signing_debs, directory=Path(directory))
        else:
            verifier = Verifier(command=(options.gpgv,), keyring=options.keyring)
        if options.verify:
            return _verify(options, intent, mirrors=mirrors, verifier=verifier, path=path)
        archive = fetch_archive(intent, mirrors=mirrors, verifier=verifier)
    stale = expired(archive, now=datetime.now(UTC))
    if stale and not options.allow_expired:
        raise ToolError(
            "; ".join(stale)
            + ". Use another mirror, or pass --allow-expired if you know why the index is old"
        )
    for line in stale:
        print(f"warning: {line}", file=sys.stderr)
    files = _Files(
        path,
        available=None if options.available is None else root / options.available,
        record=None if options.record is None else root / options.record,
    )
    old = _old_lock(path)
    if options.refresh:
        return _refresh(old, archive, files=files)
    with tempfile.TemporaryDirectory(prefix="update-") as directory:
        debs = Debs(Path(directory), mirrors=mirrors, snapshot=_snapshot(archive.releases))
        return _write(options, intent, archive=archive, old=old, debs=debs, files=files)


@dataclass(frozen=True)
class _Files:
    """What the command writes; None is what nobody wants."""

    lock: Path
    available: Path | None
    record: Path | None


def _write(
    options: argparse.Namespace,
    intent: Intent,
    *,
    archive: Archive,
    old: Lock | None,
    debs: Debs,
    files: _Files,
) -> int:
    """Make the lock, say what changes and, unless it is only to be checked, write it."""
    chosen = archive
    stays: Collection[str] = ()
    if options.update and old is not None:
        asked = [name for group in (*intent.image, *intent.tools) for name in group.packages]
        moves = moving(old, options.update, requested=asked)
        kept = keep_versions(archive.packages, old, moves=moves, fetch=debs.fetch)
        chosen = replace(archive, packages=kept)
        excluded = (name for names in old.excluded_versions.values() for name in names)
        stays = {*(package.name for package in old.packages), *excluded} - moves
    new = make_lock(intent, archive=chosen, command=options.command)
    if old is not None:
        try:
            refuse_older(old, new, downgrades=options.allow_downgrade)
        except ToolError as error:
            raise ToolError(f"{files.lock}: {error}") from error
    if options.update is not None and old is not None and _only_newer_indexes(old, new):
        new = old
    lines = changes(old, new)
    if options.update is not None and lines:
        found = rows(old, new, packages=chosen.packages, fetch=debs.fetch)
        lines = [*table(found, markdown=options.markdown)] if found else lines
    print("\n".join(lines) if lines else f"{options.lock} is up to date")
    if options.check:
        if lines:
            again = options.command or "this command without --check"
            print(f"{options.lock} is stale; renew it with: {again}", file=sys.stderr)
        return 1 if lines else 0
    texts = {files.lock: encode(new)} if lines else {}
    if files.record is not None and not _agrees(files.record, lock=new, intent=intent):
        record = _compared(intent, new, archive=archive, stays=stays, debs=options.apt_debs)
        texts[files.record] = encode_record(record)
    if files.available is not None:
        texts[files.available] = encode_available(_available(new, archive))
    replace_files({path: text.encode() for path, text in texts.items()})
    return 0


def _only_newer_indexes(old: Lock, new: Lock) -> bool:
    """Return whether two locks differ in nothing but the indexes that they were made from."""
    same = replace(new, snapshot=old.snapshot, mtime=old.mtime, releases=old.releases)
    return bool(old.releases) and encode(same) == encode(old)


def _agrees(path: Path, *, lock: Lock, intent: Intent) -> bool:
    """Return whether apt has been asked about this lock already."""
    try:
        return not differences(read_record(path), lock=lock, intent=intent)
    except ToolError:
        return False  # not there yet, or damaged


def _compared(
    intent: Intent, new: Lock, *, archive: Archive, stays: Collection[str], debs: Sequence[Path]
) -> Record:
    """Ask apt; raise ToolError when it chooses otherwise than the new lock.

    `stays` are the packages that an update of others leaves at their versions.
    """
    record = ask_apt(intent, indexes=archive.indexes, snapshot=new.snapshot, debs=debs)
    kept: dict[str, dict[str, str]] = {}
    for arch, apts in record.chosen.items():
        image = {name: package.version for name, package in new.image(arch).items()}
        ours = {**image, **new.excluded_versions[arch]}
        kept[arch] = {
            name: ours[name]
            for name, version in apts.items()
            if name in stays and ours.get(name, version) != version
        }
    record = replace(record, kept={arch: names for arch, names in kept.items() if names})
    if found := differences(record, lock=new, intent=intent):
        raise ToolError("apt itself would choose otherwise:\n  " + "\n  ".join(found))
    return record


def _refresh(old: Lock | None, archive: Archive, *, files: _Files) -> int:
    """Write what the suites offer for the packages of the lock, which stays as it is."""
    path = files.available
    if path is None:
        raise ToolError("--refresh writes the file of --available, which is missing")
    if old is None:
        raise ToolError(f"--refresh: there is no lock {files.lock}; make it first")
    new = _available(old, archive)
    refuse_older_indexes(old.releases, new.releases)
    if path.exists():
        refuse_older_indexes(read_available(path).releases, new.releases)
    replace_files({path: encode_available(new).encode()})
    indexes = ", ".join(f"{each.archive} {each.suite} {each.date}" for each in new.releases)
    print(f"{path.name}: what the signed indexes offer: {indexes}")
    return 0


def _available(lock: Lock, archive: Archive) -> Available:
    wanted = [(package.name, package.arch) for package in lock.packages]
    return available(wanted, releases=archive.releases, packages=archive.packages)


def _verify(
    options: argparse.Namespace,
    intent: Intent,
    *,
    mirrors: Mapping[str, Sequence[str]],
    verifier: Verifier,
    path: Path,
) -> int:
    """Make the lock again from the indexes that it names; return 1 when that is another lock."""
    lock = read_lock(path)
    archive = fetch_archive(intent, mirrors=mirrors, verifier=verifier, recorded=lock)
    with tempfile.TemporaryDirectory(prefix="verify-") as directory:
        debs = Debs(Path(directory), mirrors=mirrors, snapshot=lock.snapshot)
        kept = keep_versions(
            archive.packages, lock, moves=_invented(lock, archive), fetch=debs.fetch
        )
    chosen = replace(archive, packages=kept)
    lines = changes(lock, make_lock(intent, archive=chosen, command=lock.command))
    indexes = ", ".join(f"{found.archive} {found.suite} {found.date}" for found in lock.releases)
    if lines:
        print("\n".join(lines))
        print(
            f"{options.lock} is not what the signed indexes that it names give ({indexes}): it was"
            " changed by hand, or the intent was since",
            file=sys.stderr,
        )
        return 1
    newest = make_lock(intent, archive=archive, command=lock.command)
    before = {(package.name, package.arch): package.version for package in lock.packages}
    for package in newest.packages:
        was = before.get((package.name, package.arch), package.version)
        if was != package.version:
            print(f"{package.name} ({package.arch}) was kept at {was}, {package.version} is there")
    unknown = sorted({package.name for package in lock.packages if package.snapshot})
    if unknown:
        print(
            f"{options.lock}: {', '.join(unknown)}: kept from before the indexes that the lock"
            " names, which therefore say nothing of them; update them, and verify again",
            file=sys.stderr,
        )
        return 1
    print(f"{options.lock}: {len(lock.packages)} packages as the signed indexes say: {indexes}")
    return 0


def _invented(lock: Lock, archive: Archive) -> frozenset[str]:
    """Return the packages whose hash the indexes do not have, although they should."""
    offered = {
        (arch, record.sha256) for arch, records in archive.packages.items() for record in records
    }
    return frozenset(
        package.name
        for package in lock.packages
        if not package.snapshot and (package.arch, package.sha256) not in offered
    )


@tool("lock")
def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 is done, up to date or verified, 1 is stale, not verified or failed."""
    options = _arguments(argv)
    try:
        return _run(options)
    except (ToolError, OSError) as error:
        raise ToolError(f"{error}\n{options.lock} is left as it was") from error


if __name__ == "__main__":
    sys.exit(main())
