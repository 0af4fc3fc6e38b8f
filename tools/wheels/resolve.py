"""Requirements → the newest wheels that fit a machine together, chosen by pip's own resolver.

pip runs with the machine's index settings and none of its other configuration (see pip_settings),
for the target machine rather than the running one, and only reports: nothing is installed. What it
reports is then walked again by `closure` with the target's markers; requirements that only the
target has are added and the resolution repeated, packages that only the running machine needs are
dropped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.wheels.closure import Closure, Distribution, Root, applies, find_closure
from tools.wheels.lockfile import LockedWheel, LockError
from tools.wheels.pip_settings import locking_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.wheels.target import Target

_TIMEOUT_SECONDS = 900

# Each round adds what markers of the target ask for; a third round has not been seen.
_MAX_ROUNDS = 5


@dataclass(frozen=True)
class Candidate:
    """A distribution pip chose, and the wheel that holds it."""

    distribution: Distribution
    filename: str
    sha256: str


def read_requirements(path: Path) -> tuple[Root, ...]:
    """Reads a hand-written requirements file: requirements, comments and `-r FILE` lines.

    Raises LockError for any other option (an index or a local directory would not reach another
    machine).
    """
    roots: list[Root] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("-r "):
            roots.extend(read_requirements(path.parent / line[3:].strip()))
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            message = f"{path}:{number}: {line!r} is neither a requirement nor `-r FILE`: {error}"
            raise LockError(message) from error
        if requirement.url is not None:
            message = (
                f"{path}:{number}: {line!r} names a URL; only packages of the index can be locked"
            )
            raise LockError(message)
        roots.append(Root(requirement=requirement, source=path.name))
    return tuple(roots)


def _candidate(item: Mapping[str, Any], *, target: Target) -> Candidate:
    metadata = item["metadata"]
    download = item["download_info"]
    filename = unquote(PurePosixPath(urlsplit(download["url"]).path).name)
    name = canonicalize_name(metadata["name"])
    if not filename.endswith(".whl"):
        message = f"{name}: pip chose {filename}, which is not a wheel"
        raise LockError(message)
    if not parse_wheel_filename(filename)[3] & target.tags:
        message = f"{name}: pip chose {filename}, which does not run on {target.arch}"
        raise LockError(message)
    if item.get("is_yanked"):
        message = f"{name}: pip chose {filename}, which its author has withdrawn"
        raise LockError(message)
    return Candidate(
        distribution=Distribution(
            name=name,
            version=metadata["version"],
            requires_dist=tuple(metadata.get("requires_dist", ())),
            provides_extra=frozenset(
                canonicalize_name(extra) for extra in metadata.get("provides_extra", ())
            ),
        ),
        filename=filename,
        sha256=download["archive_info"]["hashes"]["sha256"],
    )


def _run_pip(
    requirements: Sequence[str],
    *,
    constraints: Sequence[str],
    target: Target,
    environ: Mapping[str, str],
) -> dict[str, Candidate]:
    """Returns pip's choice by canonical name. Raises LockError with pip's last lines."""
    import pip

    environment = locking_environment(environ)
    environment["PYTHONPATH"] = str(Path(pip.__file__).parent.parent)
    with tempfile.TemporaryDirectory(prefix="wheel-lock-") as scratch:
        wanted, pinned, report = (
            Path(scratch, name) for name in ("wanted.txt", "pinned.txt", "report.json")
        )
        wanted.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        pinned.write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--ignore-installed",
        ]
        command += [
            "--no-cache-dir",
            "--progress-bar=off",
            f"--target={scratch}/none",
            f"--report={report}",
        ]
        command += [*target.pip_flags, f"--requirement={wanted}", f"--constraint={pinned}"]
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = f"pip did not finish in {_TIMEOUT_SECONDS} s for {target.arch}"
            raise LockError(message) from error
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-15:])
            message = f"pip cannot resolve the requirements for {target.arch}:\n{tail}"
            raise LockError(message)
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    candidates = [_candidate(item, target=target) for item in chosen]
    return {candidate.distribution.name: candidate for candidate in candidates}


def _without_marker(requirement: Requirement) -> str:
    bare = Requirement(str(requirement))
    bare.marker = None
    return str(bare)


def resolve(
    roots: Sequence[Root],
    *,
    target: Target,
    environ: Mapping[str, str],
    constraints: Sequence[str] = (),
) -> tuple[LockedWheel, ...]:
    """Returns the wheels that `roots` need on `target`: newest stable within `constraints`.

    `environ` is what pip's settings are read from. Raises LockError.
    """
    environment = target.marker_environment
    requirements = [
        _without_marker(root.requirement)
        for root in roots
        if applies(root.requirement, environment=environment)
    ]
    closure = Closure(needed={}, missing=())
    for _ in range(_MAX_ROUNDS):
        candidates = _run_pip(requirements, constraints=constraints, target=target, environ=environ)
        distributions = {name: candidate.distribution for name, candidate in candidates.items()}
        closure = find_closure(roots, distributions=distributions, environment=environment)
        if not closure.missing:
            return tuple(
                LockedWheel(
                    name=name,
                    version=candidates[name].distribution.version,
                    extras=tuple(sorted(needed.extras)),
                    filename=candidates[name].filename,
                    sha256=candidates[name].sha256,
                    via=tuple(sorted(needed.via)),
                )
                for name, needed in sorted(closure.needed.items())
            )
        requirements += [line for line in closure.missing if line not in requirements]
    message = (
        f"{target.arch}: still missing after {_MAX_ROUNDS} rounds: {', '.join(closure.missing)}"
    )
    raise LockError(message)
