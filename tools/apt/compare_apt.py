"""Record what apt itself would install for the image, to check the resolver against it.

    bazel run //third_party/debian:compare_with_apt

Runs the host's `apt-get install --simulate --no-install-recommends` for each architecture on an
empty system: a private state directory, an empty dpkg status, the suites of the intent, none of
the host's configuration. apt fetches and verifies the indexes by itself, so nothing of this
folder's code is trusted. Prints every difference from the lock; a test compares the record with
the lock again, without apt.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tools.apt.intent import Intent, read_intent
from tools.apt.lockfile import SNAPSHOT_FORMAT, Lock, read_lock, snapshot_time
from tools.apt.mirrors import archive_urls
from tools.archive.atomic import replace_files
from tools.cli import ToolError, tool

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TIMEOUT_SECONDS = 600
# apt-get appends ` []` or other packages' names in brackets where it configures out of order.
_INSTALLED = re.compile(r"Inst (?P<name>\S+) \((?P<version>\S+) [^()]*\)(?: \[.*\])?")
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Record:
    """What apt chose: versions by name, by architecture, from the archive of `snapshot`."""

    snapshot: str
    requested: tuple[str, ...]
    chosen: Mapping[str, Mapping[str, str]]


def encode(record: Record) -> str:
    """Return the text of `record`; the same record is always the same text."""
    data = {
        "snapshot": record.snapshot,
        "requested": list(record.requested),
        "chosen": {arch: dict(names) for arch, names in record.chosen.items()},
    }
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def read_record(path: Path) -> Record:
    """Return the record in the file `path`; raise ToolError naming it."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Record(
            snapshot=data["snapshot"],
            requested=tuple(data["requested"]),
            chosen=data["chosen"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{path}: {error!r}; ask apt again with the target that records this"
        ) from error


def differences(record: Record, *, lock: Lock, intent: Intent) -> list[str]:
    """Return a sentence for each way in which the lock's image is not what apt chose.

    The image and what the intent excludes from it must together be exactly apt's choice.
    """
    if record.snapshot != lock.snapshot:
        return [
            (
                f"apt was asked about the archive of {record.snapshot}, the lock is of"
                f" {lock.snapshot}; ask it again"
            )
        ]
    if record.requested != intent.requested():
        return ["apt was asked for other packages than the intent names; ask it again"]
    found = []
    for arch in sorted(record.chosen.keys() | set(intent.architectures)):
        ours = {name: package.version for name, package in lock.image(arch).items()}
        excluded = lock.excluded_versions[arch]
        found += [
            f"{arch}: {name} is both in the image and excluded"
            for name in sorted(ours.keys() & excluded.keys())
        ]
        ours.update(excluded)
        apts = record.chosen.get(arch, {})
        for name in sorted(ours.keys() | apts.keys()):
            mine, theirs = ours.get(name, "nothing"), apts.get(name, "nothing")
            if mine != theirs:
                found.append(f"{arch}: {name}: the lock has {mine}, apt chose {theirs}")
    return found


def parse_simulation(output: str) -> dict[str, str]:
    """Return the versions by name that `apt-get --simulate` says it would install.

    Raise ToolError for a line that cannot be read and for output without any.
    """
    chosen = {}
    for line in output.splitlines():
        if line.startswith("Inst "):
            match = _INSTALLED.fullmatch(line.rstrip())
            if match is None:
                raise ToolError(f"apt-get said {line!r}, wanted: Inst NAME (VERSION …)")
            chosen[match["name"]] = match["version"]
    if not chosen:
        raise ToolError("apt-get would install nothing at all")
    return chosen


def ask_apt(intent: Intent, *, mirrors: Mapping[str, Sequence[str]], keyring: Path) -> Record:
    """Let the host's apt resolve the image of `intent` for each architecture.

    Raise ToolError when apt is missing, fails, or sees the archive change between two
    architectures.
    """
    chosen: dict[str, Mapping[str, str]] = {}
    snapshots = set()
    for arch in intent.architectures:
        with tempfile.TemporaryDirectory(prefix="apt-") as directory:
            state = Path(directory)
            _configure(state, intent=intent, arch=arch, mirrors=mirrors, keyring=keyring)
            _apt(state, "update", "--error-on=any")
            snapshots.add(_snapshot(state))
            chosen[arch] = parse_simulation(
                _apt(state, "install", "--simulate", "--no-install-recommends", *intent.requested())
            )
    if len(snapshots) != 1:
        raise ToolError("the archive changed while apt was being asked; run it again")
    return Record(snapshot=snapshots.pop(), requested=intent.requested(), chosen=chosen)


def _configure(
    state: Path,
    *,
    intent: Intent,
    arch: str,
    mirrors: Mapping[str, Sequence[str]],
    keyring: Path,
) -> None:
    for name in ("lists/partial", "cache/archives/partial", "empty"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    sources = [
        f"deb [arch={arch} signed-by={keyring}] {mirrors[suite.archive][0]}"
        f" {suite.name} {suite.component}\n"
        for suite in intent.suites
    ]
    (state / "sources.list").write_text("".join(sources), encoding="utf-8")
    settings = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        # The unprivileged user that apt would download as cannot enter this directory.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
        "Dir::Cache": f"{state}/cache",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": f"{state}/empty",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": f"{state}/empty",
        "Dir::Etc::sourcelist": f"{state}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": str(state),
        "Dir::State::lists": f"{state}/lists",
        "Dir::State::status": f"{state}/status",
    }
    lines = [f'{key} "{value}";\n' for key, value in settings.items()]
    (state / "apt.conf").write_text("".join(lines), encoding="utf-8")


def _apt(state: Path, *arguments: str) -> str:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "APT_CONFIG": f"{state}/apt.conf",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    command = ["apt-get", "--quiet", *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            env=environment,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except FileNotFoundError as error:
        raise ToolError(
            "there is no apt-get here; run this on Debian or a derivative of it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{' '.join(command)}: timed out after {_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def _snapshot(state: Path) -> str:
    """Return the snapshot that a lock of the indexes which apt has just verified would have."""
    dates = []
    for path in (state / "lists").glob("*_InRelease"):
        match = re.search(r"^Date: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if match is None:
            raise ToolError(f"{path.name}: has no Date")
        dates.append(parsedate_to_datetime(match[1].replace("UTC", "+0000")).astimezone(UTC))
    if not dates:
        raise ToolError("apt-get update fetched no InRelease")
    return snapshot_time(max(dates)).strftime(SNAPSHOT_FORMAT)


def _mirrors(archives: Sequence[str]) -> dict[str, list[str]]:
    mirrors = {name: archive_urls(name, environ=os.environ) for name in archives}
    bare = [name for name in archives if not mirrors[name]]
    if bare:
        raise ToolError(f"no mirror of {', '.join(bare)} is known; set DEBIAN_MIRROR")
    return mirrors


@tool("compare_apt")
def main(argv: list[str] | None = None) -> int:
    """Write the record; 0 when the lock agrees with it, 1 when not or when apt cannot be asked."""
    parser = argparse.ArgumentParser(
        description="Record what apt would install for the image and compare the lock with it."
    )
    parser.add_argument("--intent", type=Path, required=True, help="YAML file to read")
    parser.add_argument("--lock", type=Path, required=True, help="lock to compare with")
    parser.add_argument("--record", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--keyring", type=Path, default=_KEYRING, help="keys apt shall trust")
    options = parser.parse_args(argv)
    root = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    intent = read_intent(root / options.intent)
    lock = read_lock(root / options.lock)
    archives = sorted({suite.archive for suite in intent.suites})
    record = ask_apt(intent, mirrors=_mirrors(archives), keyring=options.keyring)
    replace_files({root / options.record: encode(record).encode()})
    found = differences(record, lock=lock, intent=intent)
    for line in found:
        print(f"compare_apt: {line}", file=sys.stderr)
    counts = ", ".join(f"{arch} {len(names)}" for arch, names in record.chosen.items())
    print(f"apt chose {counts} packages; {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
