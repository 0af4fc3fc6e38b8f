"""Locks Bazel's private root: `root.yaml`, written by people, in; `root.lock.json` out.

    bazel run //third_party/bazel:lock

The list in root.yaml is the whole closure: nothing is added to it, but every dependency of a listed
package must be listed too or stand under `left_out` with a reason, so that a new version that needs
something more is noticed here and not on a user's machine. Same index and intent, same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tools.apt.fetch import FetchError
from tools.apt.index import IndexFileError, Package, Suite, fetch_packages, fetch_release
from tools.apt.lockfile import SNAPSHOT_FORMAT, Lock, LockedPackage, encode
from tools.apt.mirrors import MirrorError, archive_urls
from tools.apt.signature import SignatureError, Verifier
from tools.apt.signing import unpacked_verifier
from tools.archive.atomic import replace_files
from tools.cli import ToolError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# snapshot.debian.org answers with the newest state not later than the asked time, and takes a state
# a while after the archive signs it. Half a day later the signed state is there for certain, and
# the pool still has its files: the archive keeps a superseded one for longer than that.
_SNAPSHOT_DELAY = timedelta(hours=12)


@dataclass(frozen=True)
class Intent:
    """What root.yaml asks for; `left_out` maps each omitted dependency to its reason."""

    suite: Suite
    architectures: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    sha256: str


def parse_intent(text: str, *, of: Path) -> Intent:
    """Parses root.yaml; raises ToolError for a missing key or reason or a repeated name."""
    try:
        data: dict[str, Any] = yaml.safe_load(text)
        groups = {name: tuple(group["packages"]) for name, group in data["groups"].items()}
        reasons = [group["reason"] for group in (*data["groups"].values(), *data["left_out"])]
        intent = Intent(
            suite=Suite(archive="debian", name=data["suite"], component=data["component"]),
            architectures=tuple(data["architectures"]),
            groups=groups,
            left_out={name: g["reason"] for g in data["left_out"] for name in g["packages"]},
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(f"{of}: {type(error).__name__}: {error}") from error
    if not all(reasons):
        raise ToolError(f"{of}: a group or an omission has no reason; write why it is so")
    names = [name for group in groups.values() for name in group] + list(intent.left_out)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ToolError(f"{of}: listed more than once: {', '.join(repeated)}")
    return intent


def resolve(intent: Intent, *, indexes: Mapping[str, Sequence[Package]], date: datetime) -> Lock:
    """Pins every listed package on every architecture.

    Raises ToolError listing all packages the suite lacks, all dependencies that are neither
    listed nor left out, and all omissions on which nothing depends any more.
    """
    locked: list[LockedPackage] = []
    problems: set[str] = set()
    used: set[str] = set()
    names = [name for group in intent.groups.values() for name in group]
    for arch in intent.architectures:
        index = {package.name: package for package in indexes[arch]}
        listed = {name: index[name] for name in names if name in index}
        problems |= {
            f"{arch}: {name} is not in {intent.suite}" for name in names if name not in index
        }
        provided = {virtual.name: p.name for p in listed.values() for virtual in p.provides}
        for name, package in listed.items():
            depends = []
            for group in package.depends:
                alternatives = [relation.name for relation in group]
                chosen = [provided.get(a, a) for a in alternatives if a in listed or a in provided]
                omitted = {a for a in alternatives if a in intent.left_out}
                depends += chosen[:1]
                if not chosen:
                    used |= omitted
                if not chosen and not omitted:
                    problems.add(f"{arch}: {name} depends on {' | '.join(alternatives)}")
            locked.append(_locked(package, arch, depends))
    problems |= {f"left_out: nothing depends on {name}" for name in intent.left_out.keys() - used}
    if problems:
        raise ToolError(
            f"the intent does not fit {intent.suite}; list what is missing, or leave it out with a "
            "reason:\n  " + "\n  ".join(sorted(problems))
        )
    moment = date + _SNAPSHOT_DELAY
    return Lock(
        snapshot=moment.strftime(SNAPSHOT_FORMAT),
        mtime=int(moment.timestamp()),
        intent_sha256=intent.sha256,
        image_groups=tuple(intent.groups),
        groups={
            group: {arch: tuple(sorted(members)) for arch in intent.architectures}
            for group, members in intent.groups.items()
        },
        packages=tuple(sorted(locked)),
        excluded_packages=intent.left_out,
        excluded_versions={},
        excluded_paths=(),
    )


def _locked(package: Package, arch: str, depends: Sequence[str]) -> LockedPackage:
    return LockedPackage(
        name=package.name,
        arch=arch,
        version=package.version,
        archive=package.archive,
        filename=package.filename,
        size=package.size,
        sha256=package.sha256,
        source=package.source,
        depends=tuple(sorted(set(depends))),
    )


def _run(options: argparse.Namespace) -> int:
    # `bazel run` starts tools in their runfiles; people's paths are relative to the workspace.
    base = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    intent = parse_intent((base / options.intent).read_text(encoding="utf-8"), of=options.intent)
    mirrors = archive_urls("debian", environ=os.environ)
    with tempfile.TemporaryDirectory(prefix="lock-") as directory:
        if options.signing_debs:
            verifier = unpacked_verifier(options.signing_debs, directory=Path(directory))
        else:
            verifier = Verifier(command=(options.gpgv,), keyring=options.keyring)
        release = fetch_release(intent.suite, mirrors=mirrors, verifier=verifier)
    if release.expired(now=datetime.now(UTC)):
        stale = f"{intent.suite}: the index was valid until {release.valid_until}"
        if not options.allow_expired:
            raise ToolError(
                f"{stale}: the mirror lags behind, or somebody replays an old one. If you know it "
                "is the former, say --allow-expired; else set DEBIAN_MIRROR to another mirror"
            )
        print(f"lock: warning: {stale}", file=sys.stderr)
    indexes = {
        arch: fetch_packages(release, architecture=arch, mirrors=mirrors)
        for arch in intent.architectures
    }
    lock = resolve(intent, indexes=indexes, date=release.date)
    replace_files({base / options.lock: encode(lock).encode()})
    print(f"lock: {options.lock}: {len(lock.packages)} packages of {intent.suite}, {lock.snapshot}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Locks, or says what stands in the way; the old lock stays until the new one is whole."""
    parser = argparse.ArgumentParser(description="Pin the packages of Bazel's private root.")
    parser.add_argument("--intent", type=Path, required=True, help="YAML file to read")
    parser.add_argument("--lock", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--signing-debs",
        type=Path,
        nargs="+",
        default=[],
        help="packages with gpgv and the keyring: the root itself has neither",
    )
    parser.add_argument("--gpgv", default="gpgv", help="gpgv to run, without --signing-debs")
    parser.add_argument(
        "--keyring", type=Path, default=_KEYRING, help="keys to trust, without --signing-debs"
    )
    parser.add_argument(
        "--allow-expired",
        action="store_true",
        help="accept an index past its Valid-Until (an old mirror, or an attacker's replay)",
    )
    options = parser.parse_args(argv)
    try:
        return _run(options)
    except (
        ToolError,
        FetchError,
        IndexFileError,
        MirrorError,
        OSError,
        SignatureError,
    ) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
