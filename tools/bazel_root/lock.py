#!/usr/bin/env python3
"""Locks Bazel's private root: `root.json`, written by people, in; `root.lock.json` out.

    python3 tools/bazel_root/lock.py            # writes third_party/bazel/root.lock.json

The list in root.json is the whole closure: nothing is added to it, but every dependency of a listed
package must be listed too or stand under `left_out` with a reason, so that a new version that needs
something more is noticed here and not on a user's machine. Same signed index and intent, same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from tools.apt.mirrors import MirrorError, archive_urls  # noqa: E402
from tools.bazel_root import index  # noqa: E402
from tools.bazel_root.errors import BazelRootError  # noqa: E402
from tools.bazel_root.lockfile import LockedPackage, RootLock, render_lock  # noqa: E402

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# snapshot.debian.org answers with the newest state not later than the asked time, and takes a state a
# while after the archive signs it. Half a day later the signed state is there for certain, and the
# pool still has its files: the archive keeps a superseded one for longer than that.
_SNAPSHOT_DELAY = timedelta(hours=12)


@dataclass(frozen=True)
class Intent:
    """What root.json asks for: groups of package names, and the dependencies left out on purpose."""

    suite: str
    component: str
    architectures: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    left_out: frozenset[str]


def parse_intent(text: str, *, of: Path) -> Intent:
    """Parses root.json; raises BazelRootError for a missing key, an empty reason or a repeated name."""
    try:
        data = json.loads(text)
        groups = {group["name"]: tuple(group["packages"]) for group in data["groups"]}
        reasons = [group["reason"] for group in data["groups"] + data["left_out"]]
        intent = Intent(
            suite=data["suite"],
            component=data["component"],
            architectures=tuple(data["architectures"]),
            groups=groups,
            left_out=frozenset(name for group in data["left_out"] for name in group["packages"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BazelRootError(f"{of}: {type(error).__name__}: {error}") from error
    if not all(reasons):
        raise BazelRootError(f"{of}: a group or an omission has no reason; write why it is so")
    names = [name for group in groups.values() for name in group]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BazelRootError(f"{of}: listed more than once: {', '.join(repeated)}")
    return intent


def resolve(
    intent: Intent, *, indexes: Mapping[str, Mapping[str, Mapping[str, str]]], date: datetime
) -> RootLock:
    """Pins every listed package on every architecture.

    Raises BazelRootError listing all packages the suite lacks, all dependencies that are neither
    listed nor left out, and all omissions that nothing depends on any more.
    """
    problems: list[str] = []
    packages: list[LockedPackage] = []
    used: set[str] = set()
    names = [name for group in intent.groups.values() for name in group]
    for arch in intent.architectures:
        stanzas = indexes[arch]
        problems += [f"{arch}: {name} is not in {intent.suite}" for name in names if name not in stanzas]
        listed = {name: stanzas[name] for name in names if name in stanzas}
        provided = {
            virtual: name
            for name, fields in listed.items()
            for alternatives in relations(fields.get("Provides", ""))
            for virtual in alternatives
        }
        for name, fields in listed.items():
            depends = []
            for alternatives in relations(fields.get("Pre-Depends", ""), fields.get("Depends", "")):
                chosen = [a if a in listed else provided[a] for a in alternatives if a in listed or a in provided]
                omitted = [a for a in alternatives if a in intent.left_out]
                if chosen:
                    depends.append(chosen[0])
                elif omitted:
                    used.update(omitted)
                else:
                    problems.append(f"{arch}: {name} depends on {' | '.join(alternatives)}")
            packages.append(_locked(name, arch, fields, depends))
    problems += [f"left_out names {name}, on which nothing depends" for name in intent.left_out - used]
    if problems:
        raise BazelRootError(
            "root.json does not fit the suite; list what is missing or leave it out with a reason:\n  "
            + "\n  ".join(sorted(set(problems)))
        )
    return RootLock(
        snapshot=(date + _SNAPSHOT_DELAY).strftime("%Y%m%dT%H%M%SZ"),
        mtime=int((date + _SNAPSHOT_DELAY).timestamp()),
        groups={
            group: {arch: tuple(sorted(listed)) for arch in intent.architectures}
            for group, listed in intent.groups.items()
        },
        packages=tuple(packages),
    )


def relations(*fields: str) -> list[list[str]]:
    """Splits relationship fields into groups of alternative names, without versions and qualifiers.

    >>> relations("libc6 (>= 2.38), debconf | debconf-2.0, python3:any")
    [['libc6'], ['debconf', 'debconf-2.0'], ['python3']]
    """
    return [
        [re.split(r"[\s:(\[<]", alternative.strip())[0] for alternative in group.split("|")]
        for field in fields
        for group in field.split(",")
        if group.strip()
    ]


def _locked(name: str, arch: str, fields: Mapping[str, str], depends: list[str]) -> LockedPackage:
    return LockedPackage(
        name=name,
        arch=arch,
        version=fields["Version"],
        archive="debian",
        filename=fields["Filename"],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
        source=fields.get("Source", name).split()[0],
        depends=tuple(sorted(set(depends))),
    )


def write_atomically(path: Path, text: str) -> None:
    """Replaces `path` in one step, so that an interrupted run leaves the old lock."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)


def main(argv: list[str] | None = None) -> int:
    """Locks, or says what stands in the way."""
    directory = REPOSITORY / "third_party" / "bazel"
    parser = argparse.ArgumentParser(description="Pin the packages of Bazel's private root.")
    parser.add_argument("--intent", type=Path, default=directory / "root.json", help="(%(default)s)")
    parser.add_argument("--lock", type=Path, default=directory / "root.lock.json", help="(%(default)s)")
    parser.add_argument("--keyring", type=Path, default=KEYRING, help="trusted keys (%(default)s)")
    parser.add_argument(
        "--accept-expired-index",
        action="store_true",
        help="use an index past its Valid-Until, as a mirror that lags behind serves it",
    )
    options = parser.parse_args(argv)
    try:
        intent = parse_intent(options.intent.read_text(encoding="utf-8"), of=options.intent)
        mirrors = archive_urls("debian", environ=os.environ)
        release = index.fetch_release(intent.suite, mirrors=mirrors, keyring=options.keyring)
        if release.expired(datetime.now(timezone.utc)) and not options.accept_expired_index:
            raise BazelRootError(
                f"the index of {intent.suite} was valid until {release.fields['Valid-Until']}: the mirror "
                "lags behind, or somebody replays an old one. If you know it is the former, say "
                "--accept-expired-index; else set DEBIAN_MIRROR to another mirror."
            )
        indexes = {
            arch: index.fetch_packages(
                release, suite=intent.suite, component=intent.component, arch=arch
            )
            for arch in intent.architectures
        }
        lock = resolve(intent, indexes=indexes, date=release.date)
        write_atomically(options.lock, render_lock(lock))
    except (BazelRootError, MirrorError, OSError) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    print(f"lock: {options.lock}: {len(lock.packages)} packages of {intent.suite}, {lock.snapshot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
