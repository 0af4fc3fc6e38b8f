"""Enter a user namespace with one mapped user, or say why this machine forbids it.

    unshare_as(1000, 1000, CLONE_NEWNS)

Python 3.9 and the standard library alone. Sources: user_namespaces(7), proc_sys_user(5).
"""

from __future__ import annotations

import contextlib
import errno
import os

from tools.linux.syscalls import CLONE_NEWUSER, unshare

# Settings that forbid user namespaces: below /proc/sys, the value that does, the one that allows.
_FORBIDDING = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "10000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)


def unshare_as(uid: int, gid: int, flags: int = 0) -> None:
    """Move the process, which has one thread, into a new user namespace and those of `flags`.

    The caller's user and group become `uid` and `gid` inside, the only ones there are. Raise
    OSError when the kernel refuses.
    """
    outside = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | flags)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outside[0]} 1"),
        ("gid_map", f"{gid} {outside[1]} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:
            stream.write(text)


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
