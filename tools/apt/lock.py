r"""Turn an intent (YAML) into a lock (JSON): every .deb by name and SHA256.

    bazel run //third_party/debian:lock              # write the lock anew
    bazel run //third_party/debian:lock -- --check   # only say whether it is stale

`debian_lock` in defs.bzl makes such a target. The same intent and the same state of the archive
give the same bytes; the clock is consulted only to see whether the archive still vouches for its
index. Nothing is written unless every step succeeded.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.apt.index import Package, Release, fetch_packages, fetch_release
from tools.apt.intent import Group, Intent, read_intent
from tools.apt.lockfile import (
    SNAPSHOT_FORMAT,
    ExcludedPath,
    Lock,
    LockedPackage,
    decode,
    encode,
    snapshot_time,
)
from tools.apt.mirrors import archive_urls
from tools.apt.resolver import Closure, Universe, resolve, universe
from tools.apt.signature import Verifier
from tools.apt.signing import unpacked_verifier
from tools.archive.atomic import replace_files
from tools.cli import ToolError, tool

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Archive:
    """What the archive says at one moment: its Releases and every package by architecture."""

    releases: tuple[Release, ...]
    packages: Mapping[str, Sequence[Package]]


def fetch_archive(
    intent: Intent, *, mirrors: Mapping[str, Sequence[str]], verifier: Verifier
) -> Archive:
    """Fetch and verify every index that `intent` names.

    Raise ToolError.
    """
    releases = []
    packages: dict[str, list[Package]] = {arch: [] for arch in intent.architectures}
    for suite in intent.suites:
        urls = mirrors[suite.archive]
        release = fetch_release(suite, mirrors=urls, verifier=verifier)
        releases.append(release)
        for arch in intent.architectures:
            packages[arch] += fetch_packages(release, architecture=arch, mirrors=urls)
    return Archive(releases=tuple(releases), packages=packages)


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
    )


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
    """Return a sentence for each Release that is past its Valid-Until at `now`."""
    return [
        f"{release.suite}: the index was valid until {release.valid_until}, which is past"
        for release in archive.releases
        if release.expired(now=now)
    ]


def changes(old: Lock | None, new: Lock) -> list[str]:
    """Return what differs between two locks, a line each, for people; empty when nothing does."""
    if old is not None and encode(old) == encode(new):
        return []
    before = {} if old is None else {(p.name, p.arch): p.version for p in old.packages}
    after = {(p.name, p.arch): p.version for p in new.packages}
    lines = []
    if old is not None and old.snapshot != new.snapshot:
        lines.append(f"snapshot {old.snapshot} → {new.snapshot}")
    for name, arch in sorted(before.keys() | after.keys()):
        was, now = before.get((name, arch), "absent"), after.get((name, arch), "absent")
        if was != now:
            lines.append(f"{name} ({arch}) {was} → {now}")
    return lines or ["something other than versions (groups, exclusions, hashes)"]


def _old_lock(path: Path) -> Lock | None:
    try:
        return decode(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ToolError):
        return None  # It is about to be replaced; what it said no longer matters.


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Resolve the Debian packages of the intent and write their lock."
    )
    parser.add_argument("--intent", type=Path, required=True, help="YAML file to read")
    parser.add_argument("--lock", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the lock is stale"
    )
    parser.add_argument(
        "--command",
        default="",
        help="what people run to start this; errors about the lock quote it",
    )
    parser.add_argument(
        "--allow-expired",
        action="store_true",
        help="accept an index past its Valid-Until (an old mirror, or an attacker's replay)",
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
        archive = fetch_archive(intent, mirrors=mirrors, verifier=verifier)
    stale = expired(archive, now=datetime.now(UTC))
    if stale and not options.allow_expired:
        raise ToolError(
            "; ".join(stale)
            + ". Use another mirror, or pass --allow-expired if you know why the index is old"
        )
    for line in stale:
        print(f"warning: {line}", file=sys.stderr)
    old = _old_lock(path)
    new = make_lock(intent, archive=archive, command=options.command)
    if old is not None and new.snapshot < old.snapshot:
        raise ToolError(
            f"{path} was made from the archive of {old.snapshot}, the mirror has only that of"
            f" {new.snapshot}: it lags behind, use another; or remove the lock to go back in time"
        )
    lines = changes(old, new)
    print("\n".join(lines) if lines else f"{options.lock} is up to date")
    if options.check:
        if lines:
            again = options.command or "this command without --check"
            print(f"{options.lock} is stale; renew it with: {again}", file=sys.stderr)
        return 1 if lines else 0
    if lines:
        replace_files({path: encode(new).encode()})
    return 0


@tool("lock")
def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 is done or up to date, 1 stale or failed."""
    options = _arguments(argv)
    try:
        return _run(options)
    except (ToolError, OSError) as error:
        raise ToolError(f"{error}\n{options.lock} is left as it was") from error


if __name__ == "__main__":
    sys.exit(main())
