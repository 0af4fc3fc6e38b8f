"""Enters the private root: this process gets its own mounts and becomes Bazel.

Nothing runs beside or above Bazel: the launcher's process itself unshares a mount namespace (and a
user namespace when it is not privileged), pivots into a small tmpfs on which the root's /usr and
the host's other top-level directories are mounted at their own paths, and calls execve. So signals,
terminal, standard streams, exit codes and paths are Bazel's own (unshare(2), user_namespaces(7),
pivot_root(2)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tools.cli import ToolError

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 32, 4096, 16384, 1 << 19
_MNT_DETACH = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

# The host's /etc, mounted where links that climb out of it with ".." still lead to the right place.
HOST_ETC = ".host-etc"
# The root's own, or mounted in a way of their own; every other top-level directory is the host's.
HIDDEN = frozenset(
    [HOST_ETC, "bin", "etc", "lib", "lib32", "lib64", "libo32", "libx32", "sbin", "usr"]
)
SPECIAL = frozenset(["dev", "proc", "sys"])
# Parts of /usr that are the host's all the same: what the administrator put there.
_SHOWN = ("/usr/local", "/usr/src")


class World(NamedTuple):  # not a dataclass: importing those costs each start 7 ms
    """What Bazel is to see.

    `root` is the private root's directory, `binds` names the host's top-level directories; `files`
    and `links` are the whole of /etc, as path below it to content or target.
    """

    root: str
    binds: tuple[str, ...]
    files: Mapping[str, bytes]
    links: Mapping[str, str]


def check_visible(path: str, *, what: str) -> None:
    """Raises ToolError when `path` lies where the root hides the host's files."""
    real = os.path.realpath(path) + "/"
    if real.split("/")[1] in HIDDEN and not real.startswith(tuple(d + "/" for d in _SHOWN)):
        raise ToolError(
            f"{what} {path} lies under /{real.split('/')[1]}, which Bazel's private root replaces "
            "by its own; move it, or bring a Bazel of your own (BAZELW_BAZEL=PATH)"
        )


def enter(world: World, *, argv: Sequence[str], environ: Mapping[str, str], cwd: str) -> None:
    """Replaces this process by `argv` inside the world; raises ToolError when it cannot."""
    calls = _Calls()
    _unshare(calls)
    new = os.path.join(world.root, "mnt")
    try:
        # The first mounts tell whether the namespace is worth anything: AppArmor lets a process
        # make one and then denies it every mount.
        calls.mount("none", "/", flags=_MS_REC | _MS_SLAVE)
        calls.mount("tmpfs", new, kind="tmpfs", data="mode=0755,size=64m")
    except OSError as error:
        raise ToolError(no_namespaces(str(error))) from error
    try:
        _populate(calls, new, world)
        os.chdir(new)
        calls.pivot_root()
        calls.detach_old_root()
        os.chdir(cwd)
    except OSError as error:
        raise ToolError(
            f"cannot set up Bazel's private root: {error}; a Bazel of your own on PATH does without"
        ) from error
    try:
        os.execve(argv[0], list(argv), dict(environ))
    except OSError as error:
        raise ToolError(
            f"cannot start Bazel in {world.root}: {error}; if its file system is mounted noexec, "
            "set XDG_CACHE_HOME to a directory on another one"
        ) from error


def _populate(calls: _Calls, new: str, world: World) -> None:
    for name in ("usr", "etc", *SPECIAL):
        os.mkdir(f"{new}/{name}")
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", f"{new}/{name}")
    calls.bind(f"{world.root}/usr", f"{new}/usr")
    calls.make_read_only(f"{new}/usr")
    for name in SPECIAL:
        calls.bind(f"/{name}", f"{new}/{name}")
    for name in world.binds:
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), f"{new}/{name}")
        else:
            os.mkdir(f"{new}/{name}")
            calls.bind(f"/{name}", f"{new}/{name}")
    for path in _SHOWN:
        if os.path.isdir(path):
            calls.bind(path, new + path)  # build.py has made the mount points
    os.mkdir(f"{new}/{HOST_ETC}")
    # Inside a root already, /etc is full of links to what is the host's.
    nested = os.path.isdir(f"/{HOST_ETC}")
    calls.bind(f"/{HOST_ETC}" if nested else "/etc", f"{new}/{HOST_ETC}")
    _populate_etc(f"{new}/etc", world)


def _populate_etc(etc: str, world: World) -> None:
    for path in (*world.files, *world.links):
        os.makedirs(os.path.dirname(f"{etc}/{path}"), exist_ok=True)
    for path, content in world.files.items():
        with open(f"{etc}/{path}", "wb") as stream:
            stream.write(content)
    for path, target in world.links.items():
        os.symlink(target, f"{etc}/{path}")


def _unshare(calls: _Calls) -> None:
    uid, gid = os.getuid(), os.getgid()
    try:
        calls.unshare(_CLONE_NEWNS)  # root: no user namespace, so that nothing else changes
        return
    except OSError as error:
        if error.errno != errno.EPERM:
            raise ToolError(no_namespaces(str(error))) from error
    try:
        calls.unshare(_CLONE_NEWNS | _CLONE_NEWUSER)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:
                stream.write(text)
    except OSError as error:
        raise ToolError(no_namespaces(str(error))) from error


def no_namespaces(cause: str) -> str:
    """Returns the message for a host that does not let this user make namespaces."""
    reasons = []
    for path, bad, fix in (
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
    ):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as stream:
            if stream.read().strip() == bad:
                reasons.append(f"  {path} is {bad}; an administrator can change it: {fix}")
    if not reasons:
        reasons.append(
            "  no kernel setting forbids it, so a container's seccomp or security profile does:\n"
            "  start the container with a profile that allows unshare and mount"
        )
    root = "" if os.getuid() == 0 else "run bazelw as root, or "
    return (
        f"this host does not let {'this' if os.getuid() == 0 else 'an ordinary'} user make "
        f"namespaces ({cause}), which Bazel's private root needs:\n"
        + "\n".join(reasons)
        + f"\nOr {root}install "
        "Bazel 7.7.1 or bazelisk and put it on PATH (or name it in BAZELW_BAZEL)."
    )


class _Calls:
    """The system calls that Python 3.9 has no names for; each raises OSError."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def unshare(self, flags: int) -> None:
        self._check(self._libc.unshare(flags), "unshare")

    def mount(
        self, source: str, target: str, *, flags: int = 0, kind: str = "", data: str = ""
    ) -> None:
        result = self._libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        )
        self._check(result, f"mount {source} on {target}")

    def bind(self, source: str, target: str) -> None:
        self.mount(source, target, flags=_MS_BIND | _MS_REC)

    def make_read_only(self, target: str) -> None:
        # A user namespace may not drop the flags of the mount it copied; statvfs names them.
        found = os.statvfs(target).f_flag
        keep = found & (
            os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
        )
        keep |= (1 << 21) if found & os.ST_RELATIME else 0
        self.mount("none", target, flags=_MS_BIND | _MS_REMOUNT | _MS_RDONLY | keep)

    def pivot_root(self) -> None:
        number = _SYS_PIVOT_ROOT[os.uname().machine]
        self._check(self._libc.syscall(number, b".", b"."), "pivot_root")

    def detach_old_root(self) -> None:
        self._check(self._libc.umount2(b".", _MNT_DETACH), "umount of the old root")

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")
