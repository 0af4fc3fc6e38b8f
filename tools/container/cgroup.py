"""Limits for all processes of a container together, where the caller may make a control group.

Root usually may, and whoever was given a part of the tree (systemd's Delegate=; a desktop session
has one). In Bazel's sandbox nobody may, nor in a session that systemd did not delegate to. Then
the limits of setrlimit(2) have to do. Sources: cgroups(7), cgroup-v2.rst "Delegation" and "No
Internal Process Constraint", cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "container-"
_REMOVE_SECONDS = 2.0


@dataclass(frozen=True)
class Group:
    """A control group of each hierarchy that is needed; `limits` names what they limit."""

    directories: tuple[Path, ...]
    limits: frozenset[str]

    def join(self) -> None:
        """Move the calling process into the group. Raise OSError."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text("0")

    def remove(self) -> None:
        """Remove the group, whose processes have ended; the kernel may need a moment for that."""
        end = time.monotonic() + _REMOVE_SECONDS
        for directory in self.directories:
            while directory.exists():
                try:
                    directory.rmdir()
                except OSError:
                    if time.monotonic() > end:
                        break  # The next run removes it.
                    time.sleep(0.005)


def make_group(*, memory_bytes: int | None, max_processes: int) -> Group | None:
    """Make a group with these limits; return None where that is not possible."""
    wanted = {"pids": max_processes} | ({"memory": memory_bytes} if memory_bytes else {})
    name = f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    directories: list[Path] = []
    limits: set[str] = set()
    for controller, parent, file in _places():
        if controller not in wanted:
            continue
        directory = parent / name
        with contextlib.suppress(OSError):
            if directory not in directories:
                _sweep(parent)
                directory.mkdir()
                directories.append(directory)
            (directory / file).write_text(str(wanted[controller]))
            limits.add(controller)
    return Group(tuple(directories), frozenset(limits)) if directories else None


def _places() -> Iterator[tuple[str, Path, str]]:
    """Yield each usable controller, the group to create one below, and the file of its limit."""
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = list(_mounts(Path("/proc/self/mountinfo").read_text()))
    except OSError:
        return
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        for controller, file in (("memory", "memory.limit_in_bytes"), ("pids", "pids.max")):
            if controller in controllers.split(","):
                own = _find(mounts, controller, path)
                if own is not None and os.access(own, os.W_OK | os.X_OK):
                    yield controller, own, file
        if controllers == "":
            own = _find(mounts, "", path)
            if own is None:
                continue
            # A group with processes in it cannot have groups with limits below; a sibling can be.
            parent = own if path == "/" else own.parent
            with contextlib.suppress(OSError):
                enabled = (parent / "cgroup.subtree_control").read_text().split()
                if os.access(parent, os.W_OK) and os.access(parent / "cgroup.procs", os.W_OK):
                    for controller in {"memory", "pids"}.intersection(enabled):
                        yield controller, parent, f"{controller}.max"


def _mounts(text: str) -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Yield type, root, mount point and options of each hierarchy (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ")[:3]
        if kind in ("cgroup", "cgroup2"):
            root, point = left.split(" ")[3:5]
            yield kind, root, point, frozenset(options.split(","))


def _find(
    mounts: list[tuple[str, str, str, frozenset[str]]], controller: str, path: str
) -> Path | None:
    """Return where the group `path` of a hierarchy is mounted; "" is the one of version 2."""
    for kind, root, point, options in mounts:
        right = kind == "cgroup" and controller in options if controller else kind == "cgroup2"
        inside = os.path.relpath(path, root)
        if right and not inside.startswith(".."):
            return Path(point, inside)
    return None


def _sweep(parent: Path) -> None:
    """Remove the groups of killed runs; one that still has processes cannot be removed."""
    for left in parent.glob(f"{_PREFIX}*-*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                left.rmdir()
