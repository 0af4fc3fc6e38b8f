"""The few Linux system calls Python's standard library lacks, through ctypes.

Every function raises OSError with the errno and the name of what failed. Sources: the manual
pages named beside each; constants from the kernel's uapi headers.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import fcntl
import os
import platform
import socket
import struct
from itertools import takewhile

CLONE_NEWNS = 0x00020000
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
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine(), -1)
_MOUNT_SETATTR = 442  # On every architecture.
_CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Moves the process into new namespaces (unshare(2))."""
    _check(_LIBC.unshare(flags), "unshare")


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """Mounts a file system (mount(2))."""

    def encode(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = _LIBC.mount(
        encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data) or None
    )
    what = kind or source
    _check(result, f"mount {what} on {target}" if what else f"change the mount at {target}")


def bind(source: str, target: str, *, read_only: bool, recursive: bool = False) -> None:
    """Makes `source` appear at `target`, without set-id files and devices (mount(2))."""
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))
    restrict(target, read_only=read_only)
    if read_only and recursive:
        _read_only_below(target)


def restrict(target: str, *, read_only: bool, devices: bool = False) -> None:
    """Remounts `target` nosuid and nodev, and read-only when asked.

    A less privileged mount namespace may only add flags, so those already there are repeated.
    """
    # ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of MS_*; the atime flags do not.
    have = os.statvfs(target).f_flag
    flags = have & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    for st_flag, ms_flag in ((0x400, 0x400), (0x800, 0x800), (0x1000, 0x200000)):
        flags |= ms_flag if have & st_flag else 0
    flags |= MS_REMOUNT | MS_BIND | MS_NOSUID | (0 if devices else MS_NODEV)
    mount(None, target, None, flags | (MS_RDONLY if read_only else 0))


def _read_only_below(target: str) -> None:
    """Makes the mounts below `target` read-only as well (mount_setattr(2)).

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
    """Removes a mount at once, busy or not (umount2(2), MNT_DETACH)."""
    _check(_LIBC.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root_here() -> None:
    """Makes the working directory the root and drops the old one (pivot_root(2), NOTES)."""
    if _PIVOT_ROOT < 0:
        raise OSError(38, f"pivot_root is not known for the machine {platform.machine()}")
    _check(_LIBC.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    detach(".")
    os.chdir("/")


def prctl(option: int, value: int = 0, more: int = 0) -> None:
    """Changes one attribute of the process (prctl(2))."""
    unused = ctypes.c_ulong(0)
    result = _LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), unused, unused)
    _check(result, "prctl")


def kernel_version() -> tuple[int, int]:
    """Major and minor number of the running kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(takewhile(str.isdigit, minor)))


def set_hostname(name: str) -> None:
    """Names the host in the process's UTS namespace (sethostname(2))."""
    socket.sethostname(name)


def keep_capabilities(kept: frozenset[int] = frozenset()) -> None:
    """Gives up every other capability, for this process and whatever it starts (capabilities(7)).

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


def loopback_up() -> None:
    """Brings up `lo` in the process's network namespace (netdevice(7), SIOCSIFFLAGS)."""
    siocsifflags, iff_up = 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, siocsifflags, struct.pack("16sh14x", b"lo", iff_up))
