"""Requirements → the newest wheels that fit a machine together, chosen by pip's own resolver.

pip runs with the machine's index settings and none of its other configuration (see pip_settings),
for the target machine rather than the running one, and only reports: nothing is installed. What it
reports is then walked again by `closure` with the target's markers; requirements that only the
target has are added and the resolution repeated, packages that only the running machine needs are
dropped.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.cli import ToolError, read_text
from tools.wheels.closure import Closure, Distribution, Root, applies, find_closure
from tools.wheels.lockfile import LockedWheel
from tools.wheels.pip_settings import locking_environment, run_pip

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


def read_requirements(path: Path, *, within: tuple[Path, ...] = ()) -> tuple[Root, ...]:
    """Read a hand-written requirements file: requirements, comments and `-r FILE` lines.

    Raise ToolError for any other option (an index or a local directory would not reach another
    machine). `within` are the files that include this one.
    """
    roots: list[Root] = []
    try:
        place = path.resolve()
        lines = read_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise ToolError(f"{str(path)!r}: cannot be read: {error}") from error
    if place in within:
        raise ToolError(f"{path}: includes itself by `-r`")
    for number, raw in enumerate(lines, start=1):
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("-r "):
            included = path.parent / line[3:].strip()
            roots.extend(read_requirements(included, within=(*within, place)))
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            raise ToolError(
                f"{path}:{number}: {line!r} is neither a requirement nor `-r FILE`: {error}"
            ) from error
        if requirement.url is not None:
            raise ToolError(
                f"{path}:{number}: {line!r} names a URL; only packages of the index can be locked"
            )
        roots.append(Root(requirement=requirement, source=path.name))
    return tuple(roots)


def _candidate(item: Mapping[str, Any], *, target: Target) -> Candidate:
    metadata = item["metadata"]
    download = item["download_info"]
    filename = unquote(PurePosixPath(urlsplit(download["url"]).path).name)
    name = canonicalize_name(metadata["name"])
    if not filename.endswith(".whl"):
        raise ToolError(f"{name}: pip chose {filename}, which is not a wheel")
    if not parse_wheel_filename(filename)[3] & target.tags:
        raise ToolError(f"{name}: pip chose {filename}, which does not run on {target.arch}")
    if item.get("is_yanked"):
        raise ToolError(f"{name}: pip chose {filename}, which its author has withdrawn")
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
    """Return pip's choice by canonical name. Raise ToolError with pip's last lines."""
    import pip

    with tempfile.TemporaryDirectory(prefix="wheel-lock-") as scratch:
        wanted, pinned, report = (
            Path(scratch, name) for name in ("wanted.txt", "pinned.txt", "report.json")
        )
        wanted.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        pinned.write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
        arguments = ["install", "--dry-run", "--ignore-installed", f"--target={scratch}/none"]
        arguments += [f"--report={report}", *target.pip_flags]
        arguments += [f"--requirement={wanted}", f"--constraint={pinned}"]
        run_pip(
            arguments,
            pip=Path(pip.__file__).parent.parent,
            environment=locking_environment(environ),
            timeout_seconds=_TIMEOUT_SECONDS,
            failed=f"the requirements cannot be resolved for {target.arch}",
        )
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
    """Return the wheels that `roots` need on `target`: newest stable within `constraints`.

    `environ` is what pip's settings are read from. Raise ToolError.
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
    raise ToolError(
        f"{target.arch}: still missing after {_MAX_ROUNDS} rounds: {', '.join(closure.missing)}"
    )
