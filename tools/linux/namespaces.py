"""Enter a user namespace with one mapped user, or say why this machine forbids it.

    unshare_as(1000, 1000, CLONE_NEWNS)

Python 3.9 and the standard library alone. Sources: user_namespaces(7), proc_sys_user(5).
"""

from __future__ import annotations

import contextlib
import errno
import os

from tools.linux.syscalls import CLONE_NEWUSER, PR_SET_DUMPABLE, prctl, unshare

# Settings that forbid user namespaces: below /proc/sys, the value that does, the one that allows.
_FORBIDDING = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "10000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)


Ids = tuple[int, int]  # a user and a group


def unshare_as(uid: int, gid: int, flags: int = 0, *, outside: Ids | None = None) -> None:
    """Move the process, which has one thread, into a new user namespace and those of `flags`.

    The caller's user and group become `uid` and `gid` inside, the only ones there are. For root
    they can be others of the host's, `outside`. Raise OSError when the kernel refuses.
    """
    if outside is not None:
        _unshare_as_others((uid, gid), outside, flags)
        return
    own = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | flags)
    with open("/proc/self/setgroups", "w", encoding="ascii") as stream:
        stream.write("deny")
    map_ids("self", (uid, gid), own)


def map_ids(process: int | str, inside: Ids, outside: Ids) -> None:
    """Map a user and a group of a process's user namespace to those of the host. Raise OSError."""
    for name, ours, theirs in zip(("uid_map", "gid_map"), inside, outside):
        with open(f"/proc/{process}/{name}", "w", encoding="ascii") as stream:
            stream.write(f"{ours} {theirs} 1")


def _unshare_as_others(inside: Ids, outside: Ids, flags: int) -> None:
    """Let a child map the ids, who stays where root is, and become them."""
    process = os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(write)
            if os.read(read, 1):
                map_ids(process, inside, outside)
                os._exit(0)
        finally:
            os._exit(1)
    os.close(read)
    try:
        unshare(CLONE_NEWUSER | flags)
        os.write(write, b"+")
    finally:
        os.close(write)
        _, status = os.waitpid(child, 0)
    if status:
        raise OSError(errno.EPERM, f"map {inside} to {outside}: {os.strerror(errno.EPERM)}")
    os.setresgid(*(inside[1],) * 3)
    os.setresuid(*(inside[0],) * 3)
    # Whoever changes its user may not open its own files in /proc.
    prctl(PR_SET_DUMPABLE, 1)


def why_forbidden(error: OSError, *, proc: str = "/proc/sys") -> str:
    """Return why user namespaces fail with `error`, judged by the settings that can forbid them.

    The text is a clause that names each cause with its remedy.
    """
    causes = []
    for name, forbidding, allowing in _FORBIDDING:
        with contextlib.suppress(OSError), open(f"{proc}/{name}", encoding="ascii") as stream:
            if stream.read().strip() == forbidding:
                dotted = name.replace("/", ".")
                causes.append(
                    f"{dotted} is {forbidding}; an administrator can run "
                    f"`sysctl {dotted}={allowing}`"
                )
    if causes:
        return ", and ".join(causes)
    if error.errno == errno.ENOSPC:
        return "the limit user.max_user_namespaces or the nesting depth of 32 is reached"
    return (
        "no setting in /proc/sys forbids it, so it is a seccomp filter (a container engine's "
        "default profile: run the engine with --security-opt seccomp=unconfined) or a chroot (use "
        "pivot_root or run outside it)"
    )
