"""The Linux system calls that Python's standard library lacks, through ctypes.

Every function raises OSError with the errno and the name of what failed. Sources: the manual page
named beside each; constants from the kernel's uapi headers. Python 3.9 and the standard library
alone, and only what is quick to import: bazelw does so at every start.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from itertools import takewhile

from tools.linux.architectures import BY_MACHINE

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 1
AT_FDCWD = -100
AT_RECURSIVE = 0x8000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# The C library is already loaded into Python, so this needs no file and no search.
_LIBC = ctypes.CDLL(None, use_errno=True)
# On every architecture.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _AT_EMPTY_PATH = 1, 4, 0x1000
_MOUNT_ATTR_IDMAP = 0x00100000
_CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move the process into new namespaces (unshare(2))."""
    _check(_LIBC.unshare(flags), "unshare")


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """Mount a file system (mount(2))."""

    def encode(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = _LIBC.mount(
        encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data) or None
    )
    what = kind or source
    _check(result, f"mount {what} on {target}" if what else f"change the mount at {target}")


def bind(source: str, target: str, *, read_only: bool, recursive: bool = False) -> None:
    """Make `source` appear at `target`, without set-id files and devices (mount(2))."""
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))
    restrict(target, read_only=read_only)
    if read_only and recursive:
        read_only_below(target)


def open_tree(source: str) -> int:
    """Return a copy of the mounts at `source`, which is nowhere yet (open_tree(2))."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE
    handle: int = _LIBC.syscall(_OPEN_TREE, AT_FDCWD, os.fsencode(source), flags)
    _check(min(handle, 0), f"copy the mount of {source}")
    return handle


def map_mount(handle: int, user_namespace: int) -> None:
    """Show the files of a copied mount with the owners that a namespace maps (mount_setattr(2))."""
    attributes = struct.pack("=4Q", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    arguments = (handle, b"", _AT_EMPTY_PATH | AT_RECURSIVE, attributes, len(attributes))
    _check(_LIBC.syscall(_MOUNT_SETATTR, *arguments), "map the owners of a mount")


def move_mount(handle: int, target: str) -> None:
    """Put a copied mount at `target` (move_mount(2))."""
    where = (AT_FDCWD, os.fsencode(target))
    result = _LIBC.syscall(_MOVE_MOUNT, handle, b"", *where, _MOVE_MOUNT_F_EMPTY_PATH)
    _check(result, f"mount on {target}")


def restrict(target: str, *, read_only: bool, devices: bool = False) -> None:
    """Remount `target` nosuid and nodev, and read-only when asked."""
    flags = MS_NOSUID | (0 if devices else MS_NODEV) | (MS_RDONLY if read_only else 0)
    add_flags(target, flags)


def add_flags(target: str, flags: int) -> None:
    """Remount `target` with more flags.

    A less privileged mount namespace may only add flags, so those already there are repeated.
    """
    # ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of MS_*; the atime flags do not.
    have = os.statvfs(target).f_flag
    flags |= have & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    for st_flag, ms_flag in ((0x400, 0x400), (0x800, 0x800), (0x1000, 0x200000)):
        flags |= ms_flag if have & st_flag else 0
    mount(None, target, None, MS_REMOUNT | MS_BIND | flags)


def read_only_below(target: str) -> None:
    """Make the mounts below `target` read-only as well (mount_setattr(2)).

    Kernels before 5.12 cannot, and protect the topmost mount only.
    """
    attributes = struct.pack("=4Q", MOUNT_ATTR_RDONLY, 0, 0, 0)
    arguments = (AT_FDCWD, os.fsencode(target), AT_RECURSIVE, attributes, len(attributes))
    try:
        _check(_LIBC.syscall(_MOUNT_SETATTR, *arguments), f"make {target} read-only")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


def detach(target: str) -> None:
    """Remove a mount immediately, busy or not (umount2(2), MNT_DETACH)."""
    _check(_LIBC.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root_here() -> None:
    """Make the working directory the root and drop the old one (pivot_root(2), NOTES)."""
    machine = os.uname().machine
    if machine not in BY_MACHINE:
        raise OSError(errno.ENOSYS, f"the number of pivot_root is not known on {machine}")
    _check(_LIBC.syscall(BY_MACHINE[machine].pivot_root, b".", b"."), "pivot_root")
    detach(".")
    os.chdir("/")


def prctl(option: int, value: int = 0, more: int = 0) -> None:
    """Change one attribute of the process (prctl(2))."""
    unused = ctypes.c_ulong(0)
    result = _LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), unused, unused)
    _check(result, "prctl")


def kernel_version() -> tuple[int, int]:
    """Return the major and minor number of the running kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(takewhile(str.isdigit, minor)))


def set_hostname(name: str) -> None:
    """Name the host in the process's UTS namespace (sethostname(2))."""
    encoded = os.fsencode(name)
    _check(_LIBC.sethostname(encoded, len(encoded)), f"set the host name {name!r}")


def keep_capabilities(kept: frozenset[int] = frozenset()) -> None:
    """Give up every other capability, for this process and whatever it starts (capabilities(7)).

    Those kept are ambient too, or a user other than root would lose them with the next exec.
    """
    for number in range(64):
        if number in kept:
            continue
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # EINVAL: the kernel knows no capability of this number.
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    bits = sum(1 << number for number in kept)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    # Effective, permitted, inheritable: first of capabilities 0 to 31, then of the others.
    _check(_LIBC.capset(header, struct.pack("=6I", low, low, low, high, high, high)), "capset")
    for number in sorted(kept):
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
