r"""The format of the wheel locks: pip's requirements file, one wheel for each package.

    # wheel: numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
    # via: opencv-python-headless, requirements.in
    numpy==2.4.6 \
        --hash=sha256:0123…

pip (`--require-hashes`) and rules_python's `pip_parse` read such a file as it is. The extras in a
line are all that anything asked of the package, since `pip_parse` takes a package's dependencies
from its own line only. The first comment names the file, for fetching and for `wheel_locks.bzl`.
The lines at the head of a lock say which command makes it anew; errors quote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from tools.cli import ToolError

_REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)(?:\[(?P<extras>[a-z0-9,-]+)\])?==(?P<version>[^\s;\[\]]+) \\"
)
_HASH = re.compile(r"    --hash=sha256:(?P<sha256>[0-9a-f]{64})")
_COMMAND = re.compile(r"`(?P<command>[^`]+)`; do not edit\.$", re.MULTILINE)
_WHEEL = "# wheel: "
_VIA = "# via: "


@dataclass(frozen=True)
class LockedWheel:
    """One package of a lock. `name` is canonical (PEP 503), `via` what asked for it."""

    name: str
    version: str
    extras: tuple[str, ...]
    filename: str
    sha256: str
    via: tuple[str, ...]


def render_lock(wheels: tuple[LockedWheel, ...], *, title: str, command: str) -> str:
    """Return the lock's text; its head says what it holds and which command makes it anew."""
    blocks = [f"# {title}\n# `{command}`; do not edit.\n"]
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        extras = f"[{','.join(sorted(wheel.extras))}]" if wheel.extras else ""
        blocks.append(
            f"{_WHEEL}{wheel.filename}\n"
            f"{_VIA}{', '.join(sorted(wheel.via))}\n"
            f"{wheel.name}{extras}=={wheel.version} \\\n"
            f"    --hash=sha256:{wheel.sha256}\n"
        )
    return "\n".join(blocks)


def _check_filename(wheel: LockedWheel) -> None:
    """Raise ValueError unless the file's name says the package and version of its line."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.filename)
        same = canonicalize_name(name) == wheel.name and version == Version(wheel.version)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise ValueError(str(error)) from error
    if not same:
        raise ValueError(f"wheel {wheel.filename} is not {wheel.name} {wheel.version}")


def parse_lock(text: str, *, source: str) -> tuple[LockedWheel, ...]:
    """Read a lock that `render_lock` wrote; `source` names it in errors.

    Raise ToolError for a line of any other shape, a package named twice and a wheel whose file
    name says something else than its line.
    """
    wheels: dict[str, LockedWheel] = {}
    filename = via = ""
    pending: re.Match[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if pending is not None:
                hashed = _require(_HASH, line)
                extras = pending["extras"]
                wheel = LockedWheel(
                    name=pending["name"],
                    version=pending["version"],
                    extras=tuple(extras.split(",")) if extras else (),
                    filename=filename,
                    sha256=hashed["sha256"],
                    via=tuple(via.split(", ")),
                )
                _check_filename(wheel)
                if wheel.name in wheels:
                    raise ValueError(f"{wheel.name} is locked twice")  # noqa: TRY301 - one place adds file and line
                wheels[wheel.name] = wheel
                filename, via, pending = "", "", None
            elif line.startswith(_WHEEL):
                filename = line[len(_WHEEL) :]
            elif line.startswith(_VIA):
                via = line[len(_VIA) :]
            elif line and not line.startswith("#"):
                pending = _require(_REQUIREMENT, line)
        except ValueError as error:
            raise ToolError(f"{source}:{number}: {error}; {_way_out(text)}") from error
    if pending is not None:
        raise ToolError(f"{source}: ends inside the entry of {pending['name']}; {_way_out(text)}")
    return tuple(wheels.values())


def _way_out(text: str) -> str:
    command = _COMMAND.search(text)
    return f"lock again with: {command['command'] if command else 'the lock target beside it'}"


def _require(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    match = pattern.fullmatch(line)
    if match is None:
        raise ValueError(f"unexpected {line!r}")
    return match
