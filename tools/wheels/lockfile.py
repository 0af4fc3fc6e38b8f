r"""The format of the wheel locks: pip's requirements file, one wheel for each package.

    # wheel: numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
    # via: opencv-python-headless, requirements.in
    numpy==2.4.6 \
        --hash=sha256:0123…

pip (`--require-hashes`) and rules_python's `pip_parse` read such a file as it is. The extras in a
line are all that anything asked of the package, since `pip_parse` takes a package's dependencies
from its own line only. The first comment names the file, which fetching and
`tools/py/wheel_lock.bzl` need.
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

_REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)(?:\[(?P<extras>[a-z0-9,-]+)\])?==(?P<version>[^\s;\[\]]+) \\"
)
_HASH = re.compile(r"    --hash=sha256:(?P<sha256>[0-9a-f]{64})")
_WHEEL = "# wheel: "
_VIA = "# via: "


class LockError(Exception):
    """A lock, its inputs or its resolution is wrong; the message says what to do."""


@dataclass(frozen=True)
class LockedWheel:
    """One package of a lock. `name` is canonical (PEP 503), `via` what asked for it."""

    name: str
    version: str
    extras: tuple[str, ...]
    filename: str
    sha256: str
    via: tuple[str, ...]


def render_lock(wheels: tuple[LockedWheel, ...], *, title: str) -> str:
    """Returns the lock's text; `title` is the comment at its head, one or more lines."""
    blocks = ["".join(f"# {line}\n" for line in title.splitlines())]
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
    """Raises ValueError unless the file's name says the package and version of its line."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.filename)
        same = canonicalize_name(name) == wheel.name and version == Version(wheel.version)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise ValueError(str(error)) from error
    if not same:
        message = f"wheel {wheel.filename} is not {wheel.name} {wheel.version}"
        raise ValueError(message)


def parse_lock(text: str, *, source: str) -> tuple[LockedWheel, ...]:
    """Reads a lock that `render_lock` wrote; `source` names it in errors.

    Raises LockError for a line of any other shape, a package named twice and a wheel whose file
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
                    message = f"{wheel.name} is locked twice"
                    raise ValueError(message)  # noqa: TRY301 -- one place adds file and line
                wheels[wheel.name] = wheel
                filename, via, pending = "", "", None
            elif line.startswith(_WHEEL):
                filename = line[len(_WHEEL) :]
            elif line.startswith(_VIA):
                via = line[len(_VIA) :]
            elif line and not line.startswith("#"):
                pending = _require(_REQUIREMENT, line)
        except ValueError as error:
            message = f"{source}:{number}: {error}; run `bazel run //third_party/python:lock`"
            raise LockError(message) from error
    if pending is not None:
        message = f"{source}: ends inside the entry of {pending['name']}"
        raise LockError(message)
    return tuple(wheels.values())


def _require(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    match = pattern.fullmatch(line)
    if match is None:
        message = f"unexpected {line!r}"
        raise ValueError(message)
    return match
