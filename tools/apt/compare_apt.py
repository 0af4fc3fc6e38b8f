"""What apt itself would install for the image, recorded beside the lock to check the resolver.

The lock command runs `apt-get install --simulate --no-install-recommends` for each architecture on
an empty system, whatever the host is: apt is unpacked from the group `apt` of our own lock into a
directory that becomes its root, in namespaces without a network. It reads the indexes that the
command has verified, and none of this folder's code chooses for it. Nothing is installed, so no
maintainer script runs. The same indexes give the same record, which `lock_test` compares with the
lock.
"""

import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.apt.index import Index
from tools.apt.intent import Intent
from tools.apt.lockfile import Lock
from tools.apt.paths import MERGED_DIRECTORIES
from tools.archive.deb_extract import DebExtractor
from tools.cli import ToolError
from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as, why_forbidden

_APT_GET = "usr/bin/apt-get"
_TIMEOUT_SECONDS = 600
# apt-get appends ` []` or other packages' names in brackets where it configures out of order.
_INSTALLED = re.compile(r"Inst (?P<name>\S+) \((?P<version>\S+) [^()]*\)(?: \[.*\])?")
# apt is never connected to it; its lists are named after it.
_HOST = "archive.invalid"


@dataclass(frozen=True)
class Record:
    """What apt chose: versions by name, by architecture, from the archive of `snapshot`.

    `kept` are the versions, likewise, that an update of other packages left as they were.
    """

    snapshot: str
    requested: tuple[str, ...]
    chosen: Mapping[str, Mapping[str, str]]
    kept: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def encode_record(record: Record) -> str:
    """Return the text of `record`; the same record is always the same text."""
    data = {
        "snapshot": record.snapshot,
        "requested": list(record.requested),
        "chosen": {arch: dict(names) for arch, names in record.chosen.items()},
        "kept": {arch: dict(names) for arch, names in record.kept.items()},
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
            kept=data.get("kept", {}),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{path}: {error!r}; make it anew with the lock target beside it"
        ) from error


def differences(record: Record, *, lock: Lock, intent: Intent) -> list[str]:
    """Return a sentence for each way in which the lock's image is not what apt chose.

    The image and what the intent excludes from it must together be exactly apt's choice.
    """
    if record.snapshot != lock.snapshot:
        return [
            (
                f"apt was asked about the archive of {record.snapshot}, the lock is of"
                f" {lock.snapshot}; lock again"
            )
        ]
    if record.requested != intent.requested():
        return ["apt was asked for other packages than the intent names; lock again"]
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
        kept = record.kept.get(arch, {})
        found += [
            f"{arch}: {name}: was kept at {version} when apt was asked; lock again"
            for name, version in sorted(kept.items())
            if ours.get(name) != version
        ]
        for name in sorted(ours.keys() | apts.keys()):
            mine, theirs = ours.get(name, "nothing"), apts.get(name, "nothing")
            if mine != theirs and (name not in apts or mine != kept.get(name)):
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


def ask_apt(
    intent: Intent, *, indexes: Sequence[Index], snapshot: str, debs: Sequence[Path]
) -> Record:
    """Let the apt of `debs` resolve the image of `intent` for each architecture, from `indexes`.

    Raise ToolError when apt cannot be started or fails.
    """
    chosen: dict[str, Mapping[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="apt-") as directory:
        root = Path(directory)
        _unpack(debs, root)
        for arch in intent.architectures:
            _configure(root, arch=arch, indexes=[each for each in indexes if each.arch == arch])
            chosen[arch] = parse_simulation(_install(root, intent.requested()))
    return Record(snapshot=snapshot, requested=intent.requested(), chosen=chosen)


def _unpack(debs: Sequence[Path], root: Path) -> None:
    extractor = DebExtractor(root)
    for deb in debs:
        try:
            extractor.extract(deb)
        except (ToolError, OSError) as error:
            raise ToolError(f"{deb}: {error}") from error
    # base-files, which has these links in Debian 13, is not among them.
    for name in MERGED_DIRECTORIES:
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    if not (root / _APT_GET).is_file():
        raise ToolError(f"no {_APT_GET} in: {', '.join(deb.name for deb in debs) or 'no packages'}")


def _configure(root: Path, *, arch: str, indexes: Sequence[Index]) -> None:
    """Give apt an empty system whose sources are `indexes`, as if it had just fetched them."""
    for name in ("state", "cache"):  # of the architecture before
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("state/lists/partial", "cache/archives/partial", "empty", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    sources = []
    for index in indexes:
        suite = index.release.suite
        name = f"{_HOST}_{suite.archive}_dists_{suite.name}"
        # Unpacked: apt reads them at random, which takes minutes in a compressed file.
        packages = lzma.decompress(index.content)
        lists = root / "state/lists"
        (lists / f"{name}_InRelease").write_bytes(index.release.signed)
        (lists / f"{name}_{suite.component}_binary-{arch}_Packages").write_bytes(packages)
        sources.append(
            f"deb [arch={arch} trusted=yes] http://{_HOST}/{suite.archive} {suite.name}"
            f" {suite.component}\n"
        )
    (root / "state/sources.list").write_text("".join(sources), encoding="utf-8")
    settings = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
        "Dir::Cache": "/cache",
        "Dir::Etc::main": "/empty/none",
        "Dir::Etc::parts": "/empty",
        "Dir::Etc::preferences": "/empty/none",
        "Dir::Etc::preferencesparts": "/empty",
        "Dir::Etc::sourcelist": "/state/sources.list",
        "Dir::Etc::sourceparts": "/empty",
        "Dir::State": "/state",
        "Dir::State::status": "/state/status",
    }
    lines = [f'{key} "{value}";\n' for key, value in settings.items()]
    (root / "apt.conf").write_text("".join(lines), encoding="utf-8")


def _install(root: Path, names: Sequence[str]) -> str:
    """Return what apt-get, with `root` as its root and without a network, says it would install."""

    def enter() -> None:
        try:
            unshare_as(0, 0, linux.CLONE_NEWNS | linux.CLONE_NEWNET)
            os.chroot(root)
            os.chdir("/")
        except OSError as error:
            reason = f"no user namespace: {error}: {why_forbidden(error)}"
            os.write(2, reason.encode())
            os._exit(1)

    command = ["apt-get", "install", "--quiet", "--simulate", "--no-install-recommends", *names]
    try:
        done = subprocess.run(
            command,
            executable=f"/{_APT_GET}",
            capture_output=True,
            check=False,
            env={"APT_CONFIG": "/apt.conf", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin"},
            preexec_fn=enter,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"apt-get timed out after {_TIMEOUT_SECONDS} s") from error
    except OSError as error:
        raise ToolError(f"apt-get cannot be started: {error}") from error
    if done.returncode != 0:
        raise ToolError(f"apt-get install --simulate failed:\n{done.stderr.strip()}")
    return done.stdout
