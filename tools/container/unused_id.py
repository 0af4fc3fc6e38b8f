"""For root: a user of the host that nobody is, to run a container as.

Mapped as root, a container's user would be root to every part of the kernel that looks at the id
alone, and to whatever it might break into. So a user and group id are taken that no account, no
range of subordinate ids and no other container has. What root owns must still be the container's to
read and, where it is mounted writable, to write: each source is mounted with its owner's id mapped
to the new one and back (mount_setattr(2), ID-mapped mounts). On disk nothing changes owner, so that
the files are of the same use afterwards, and to the owner of the directory in the first place.

The mounts have to be made while the process is still root, and are handed on as descriptors.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tools.container.plan import Plan
from tools.linux import syscalls as linux
from tools.linux.namespaces import Ids, map_ids

# systemd's UIDS-GIDS.md has no use for 0x70000000 to 0x7FFFFFFF, shadow's and useradd's end before.
FIRST, COUNT = 0x70000000, 0x0FFFFFFF
OVERLAY_OF_MAPPED = (5, 19)  # overlayfs on ID-mapped mounts

Held = dict[str, list[int]]  # source → mounts of it that are nowhere yet, one for each use


def unused_id() -> int:
    """Return an id at random, so that two containers do not have the same."""
    return FIRST + int.from_bytes(os.urandom(4), "little") % COUNT


def why_not(plan: Plan, number: int, *, uid_map: Path = Path("/proc/self/uid_map")) -> str:
    """Return why root's container has to have root's own id, "" if no reason is known."""
    if linux.kernel_version() < OVERLAY_OF_MAPPED:
        return f"Linux {os.uname().release} cannot mount the image for another id, 5.19 can"
    if plan.emulator is not None:
        return "an emulator is registered by the caller's own id"
    ranges = [[int(word) for word in line.split()] for line in uid_map.read_text().splitlines()]
    if not any(first <= number < first + count for first, _, count in ranges):
        return "this process is root of a user namespace that has no other ids"
    return ""


def hold(plan: Plan, stage: Path, number: int) -> Held:
    """Make the mounts and enter `stage`, a directory in memory of the new id's. Raise OSError.

    The process is in a mount namespace of its own afterwards.
    """
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    held: Held = {}
    namespaces: dict[Ids, int] = {}
    for source in _sources(plan):
        info = os.stat(source)
        owner = info.st_uid, info.st_gid
        if owner not in namespaces:
            namespaces[owner] = _mapping(owner, number)
        copy = linux.open_tree(source)
        linux.map_mount(copy, namespaces[owner])
        held.setdefault(source, []).append(copy)
    for handle in namespaces.values():
        os.close(handle)
    options = f"size={plan.spec.write_bytes},mode=0755,uid={number},gid={number}"
    linux.mount("tmpfs", str(stage), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    os.chdir(stage)
    return held


def attach(source: str, target: str, held: Held | None) -> None:
    """Make `source` appear at `target`, with everything mounted below it."""
    if held is None:
        # Recursive, because the parts of a mount tree may not be taken apart in a user namespace.
        linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    else:
        copy = held[source].pop()
        linux.move_mount(copy, target)
        os.close(copy)


def _sources(plan: Plan) -> Iterator[str]:
    yield str(plan.spec.rootfs.path)
    if plan.spec.scratch is not None:
        yield str(plan.spec.scratch)
    for source, *_ in plan.binds:
        yield source


def _mapping(owner: Ids, number: int) -> int:
    """Return a user namespace in which `owner` is `number` on the host."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(write, b"+")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        os.read(read, 1)
        map_ids(child, owner, (number, number))
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
