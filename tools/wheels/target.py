"""The machines that wheels are locked for: compatible tags and the values of markers.

Tags follow PyPA's "Platform compatibility tags" (PEP 600 for manylinux), markers PyPA's "Dependency
specifiers". The versions of Python and of the C library are read from the lock of Debian packages
that the image is made of, so they stand in one place only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.tags import Tag, compatible_tags, cpython_tags

from tools.cli import ToolError, parse_json
from tools.linux.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from pathlib import Path

# Names from before PEP 600, by glibc minor version; wheels still carry them.
_LEGACY_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Target:
    """A machine: Debian's architecture, Python's full version, glibc's minor version (2.N)."""

    arch: str
    python: str
    glibc_minor: int

    @property
    def machine(self) -> str:
        """The kernel's name of the architecture."""
        return ARCHITECTURES[self.arch].machine

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags that fit, best first."""
        machine, oldest = self.machine, ARCHITECTURES[self.arch].oldest_glibc
        tags: list[str] = []
        for minor in range(self.glibc_minor, oldest - 1, -1):
            tags.append(f"manylinux_2_{minor}_{machine}")
            if minor in _LEGACY_TAGS and (machine == "x86_64" or minor == max(_LEGACY_TAGS)):
                tags.append(f"{_LEGACY_TAGS[minor]}_{machine}")
        return tuple(tags)

    @property
    def tags(self) -> frozenset[Tag]:
        """Every wheel tag that fits."""
        version = tuple(int(part) for part in self.python.split(".")[:2])
        own = cpython_tags(version, platforms=self.platforms)
        return frozenset(own) | frozenset(compatible_tags(version, platforms=self.platforms))

    @property
    def pip_flags(self) -> tuple[str, ...]:
        """Flags that make pip choose wheels for this machine, whichever it runs on."""
        major, minor = self.python.split(".")[:2]
        return (
            "--only-binary=:all:",
            f"--python-version={self.python}",
            "--implementation=cp",
            f"--abi=cp{major}{minor}",
            "--abi=abi3",
            "--abi=none",
            *(f"--platform={platform}" for platform in self.platforms),
        )

    @property
    def marker_environment(self) -> dict[str, str]:
        """What environment markers evaluate to on this machine."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python,
            "python_version": ".".join(self.python.split(".")[:2]),
            "sys_platform": "linux",
        }


def _upstream_version(lock: dict[str, Any], pattern: str, *, arch: str, source: Path) -> str:
    """Return the upstream version of the one package of `arch` whose name matches `pattern`."""
    found = {
        package["version"].partition(":")[2] or package["version"]
        for package in lock["packages"]
        if package["arch"] == arch and re.fullmatch(pattern, package["name"])
    }
    if len(found) != 1:
        raise ToolError(
            f"{source}: wanted one package {pattern!r} for {arch}, found versions {sorted(found)}; "
            f"name one in its intent and run: {lock.get('command') or 'its lock target'}"
        )
    return re.split(r"[-+~]", found.pop())[0]


def _read_lock(path: Path) -> dict[str, Any]:
    """Return a lock of Debian packages, in which at least their names and versions are there."""
    try:
        lock: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        for package in lock["packages"]:
            _ = [package[each].partition for each in ("name", "arch", "version")]
        _ = lock.get
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(
            f"{path}: not a lock of Debian packages ({type(error).__name__}: {error})"
        ) from error
    return lock


def target_from_debian_lock(path: Path, *, arch: str) -> Target:
    """Return the machine that the Debian lock at `path` describes. Raise ToolError, OSError."""
    lock = _read_lock(path)
    try:
        python = _upstream_version(lock, r"python3\.\d+", arch=arch, source=path)
        glibc = _upstream_version(lock, "libc6", arch=arch, source=path)
        return Target(arch=arch, python=python, glibc_minor=int(glibc.split(".")[1]))
    except (ValueError, IndexError) as error:
        raise ToolError(f"{path}: a version cannot be read: {error}") from error


def targets_from_debian_lock(path: Path) -> tuple[Target, ...]:
    """Return the machine of each architecture of the Debian lock. Raise ToolError, OSError."""
    lock = _read_lock(path)
    found = sorted({str(package["arch"]) for package in lock["packages"]})
    unknown = [arch for arch in found if arch not in ARCHITECTURES]
    if unknown or not found:
        raise ToolError(
            f"{path}: has packages for {', '.join(found) or 'no architecture'}; wheels can be "
            f"locked for {', '.join(ARCHITECTURES)}"
        )
    return tuple(target_from_debian_lock(path, arch=arch) for arch in found)
