"""Turns intent (bookworm.yaml) into a lock (bookworm.lock.json): every .deb by name and SHA256.

    bazel run //third_party/debian:lock              # write the lock anew
    bazel run //third_party/debian:lock -- --check   # only say whether it is stale

The same intent and the same state of the archive give the same bytes; the clock is consulted
only to see whether the archive still vouches for its index. Nothing is written unless every
step succeeded.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.apt.fetch import FetchError
from tools.apt.index import (
    IndexFileError,
    Package,
    Release,
    fetch_packages,
    fetch_release,
)
from tools.apt.intent import Group, Intent, IntentError, read_intent
from tools.apt.lockfile import (
    SNAPSHOT_FORMAT,
    ExcludedPath,
    Lock,
    LockedPackage,
    LockError,
    decode,
    encode,
)
from tools.apt.mirrors import MirrorError, archive_urls
from tools.apt.resolver import Closure, ResolveError, Universe, resolve, universe
from tools.apt.signature import SignatureError, Verifier
from tools.apt.signing import unpacked_verifier
from tools.archive.atomic import replace_files

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

    Raises FetchError, SignatureError or IndexFileError.
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


def make_lock(intent: Intent, *, archive: Archive) -> Lock:
    """Return the lock that `intent` and the state of the archive give.

    Raises ResolveError when a closure cannot be had, LockError for an exclusion that excludes
    nothing or something asked for.
    """
    groups: dict[str, dict[str, tuple[str, ...]]] = {}
    excluded: dict[str, dict[str, str]] = {}
    locked: list[LockedPackage] = []
    for arch in intent.architectures:
        known = universe(archive.packages[arch], architecture=arch)
        image = resolve(known, requested=intent.requested(), name="image")
        excluded[arch] = {
            name: package.version
            for name, package in image.packages.items()
            if name in intent.exclude_packages
        }
        tools = _tool_closures(intent, known)
        for group in intent.tools:
            closure = tools[group.name]
            members = closure.reachable(group.packages, without=group.exclude_packages)
            groups.setdefault(group.name, {})[arch] = tuple(sorted(members))
            _add(locked, closure, arch=arch, names=members)
        for name, share in _image_groups(intent, image).items():
            groups.setdefault(name, {})[arch] = share
        _add(locked, image, arch=arch, names=set(image.packages) - set(excluded[arch]))
    _refuse_idle_exclusions(intent, excluded)
    newest = max(release.date for release in archive.releases)
    return Lock(
        snapshot=newest.strftime(SNAPSHOT_FORMAT),
        mtime=intent.timestamp,
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

    What only excluded packages need would be in the image for nothing: raises LockError.
    """
    excluded = intent.exclude_packages
    taken: set[str] = set()
    shares = {}
    for group in intent.image:
        _refuse_excluded_request(group, excluded)
        members = image.reachable(group.packages, without=excluded) - taken
        taken |= members
        shares[group.name] = tuple(sorted(members))
    idle = sorted(set(image.packages) - taken - set(excluded))
    if idle:
        raise LockError(
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
        raise LockError(
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
        raise LockError(f"group {group.name!r} asks for {', '.join(both)} and excludes it as well")


def _refuse_idle_exclusions(intent: Intent, excluded: Mapping[str, Mapping[str, str]]) -> None:
    idle = sorted(set(intent.exclude_packages).difference(*excluded.values()))
    if idle:
        raise LockError(
            f"exclude_packages names {', '.join(idle)}, which nothing in the image needs; drop it"
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
    except FileNotFoundError:
        return None
    except LockError:
        # It is about to be replaced; what it said no longer matters.
        return None


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
        "--allow-expired",
        action="store_true",
        help="accept an index past its Valid-Until (an old mirror, or an attacker's replay)",
    )
    parser.add_argument(
        "--signing-debs",
        type=Path,
        nargs="+",
        default=[],
        help="packages of the lock's group `signing`: gpgv and the keyring are taken from them",
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
        raise LockError(
            "; ".join(stale)
            + ". Use another mirror, or pass --allow-expired if you know why the index is old"
        )
    for line in stale:
        print(f"warning: {line}", file=sys.stderr)
    old = _old_lock(path)
    new = make_lock(intent, archive=archive)
    if old is not None and new.snapshot < old.snapshot:
        raise LockError(
            f"{path} was made from the archive of {old.snapshot}, the mirror has only that of"
            f" {new.snapshot}: it lags behind, use another; or remove the lock to go back in time"
        )
    lines = changes(old, new)
    print("\n".join(lines) if lines else f"{options.lock} is up to date")
    if options.check:
        if lines:
            print("stale; renew it with: bazel run //third_party/debian:lock", file=sys.stderr)
        return 1 if lines else 0
    if lines:
        replace_files({path: encode(new).encode()})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 is done or up to date, 1 stale or failed."""
    options = _arguments(argv)
    try:
        return _run(options)
    except (
        FetchError,
        IndexFileError,
        IntentError,
        LockError,
        MirrorError,
        OSError,
        ResolveError,
        SignatureError,
    ) as error:
        print(f"lock: {error}", file=sys.stderr)
        print(f"lock: {options.lock} is left as it was", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
