"""Enters the private root: this process gets its own mounts and becomes Bazel.

Nothing runs beside or above Bazel: the launcher's process itself unshares a mount namespace (and a
user namespace when it is not privileged), pivots into a small tmpfs on which the root's /usr and
the host's other top-level directories are mounted at their own paths, and calls execve. So signals,
terminal, standard streams, exit codes and paths are Bazel's own (unshare(2), user_namespaces(7),
pivot_root(2)).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tools.cli import ToolError
from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as, why_forbidden

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
    """Raise ToolError when `path` lies where the root hides the host's files."""
    real = os.path.realpath(path) + "/"
    if real.split("/")[1] in HIDDEN and not real.startswith(tuple(d + "/" for d in _SHOWN)):
        raise ToolError(
            f"{what} {path} lies under /{real.split('/')[1]}, which Bazel's private root replaces "
            "by its own; move it, or bring a Bazel of your own (BAZELW_BAZEL=PATH)"
        )


def enter(world: World, *, argv: Sequence[str], environ: Mapping[str, str], cwd: str) -> None:
    """Replace this process by `argv` inside the world; raise ToolError when it cannot."""
    _unshare()
    new = os.path.join(world.root, "mnt")
    try:
        # The first mounts tell whether the namespace is worth anything: AppArmor lets a process
        # make one and then denies it every mount.
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
        linux.mount("tmpfs", new, "tmpfs", data="mode=0755,size=64m")
    except OSError as error:
        raise ToolError(no_namespaces(error)) from error
    try:
        _populate(new, world)
        os.chdir(new)
        linux.pivot_root_here()
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


def _populate(new: str, world: World) -> None:
    for name in ("usr", "etc", *SPECIAL):
        os.mkdir(f"{new}/{name}")
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", f"{new}/{name}")
    _bind(f"{world.root}/usr", f"{new}/usr")
    linux.add_flags(f"{new}/usr", linux.MS_RDONLY)
    for name in SPECIAL:
        _bind(f"/{name}", f"{new}/{name}")
    for name in world.binds:
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), f"{new}/{name}")
        else:
            os.mkdir(f"{new}/{name}")
            _bind(f"/{name}", f"{new}/{name}")
    for path in _SHOWN:
        if os.path.isdir(path):
            _bind(path, new + path)  # build.py has made the mount points
    os.mkdir(f"{new}/{HOST_ETC}")
    # Inside a root already, /etc is full of links to what is the host's.
    nested = os.path.isdir(f"/{HOST_ETC}")
    _bind(f"/{HOST_ETC}" if nested else "/etc", f"{new}/{HOST_ETC}")
    _populate_etc(f"{new}/etc", world)


def _populate_etc(etc: str, world: World) -> None:
    for path in (*world.files, *world.links):
        os.makedirs(os.path.dirname(f"{etc}/{path}"), exist_ok=True)
    for path, content in world.files.items():
        with open(f"{etc}/{path}", "wb") as stream:
            stream.write(content)
    for path, target in world.links.items():
        os.symlink(target, f"{etc}/{path}")


def _bind(source: str, target: str) -> None:
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)


def _unshare() -> None:
    try:
        linux.unshare(linux.CLONE_NEWNS)  # root: no user namespace, so that nothing else changes
        return
    except OSError as error:
        if error.errno != errno.EPERM:
            raise ToolError(no_namespaces(error)) from error
    try:
        unshare_as(os.getuid(), os.getgid(), linux.CLONE_NEWNS)
    except OSError as error:
        raise ToolError(no_namespaces(error)) from error


def no_namespaces(error: OSError) -> str:
    """Return the message for a host that does not let this user create namespaces."""
    root = "" if os.getuid() == 0 else "run bazelw as root, or "
    return (
        f"cannot create the namespaces of Bazel's private root ({error.strerror}):\n"
        f"{why_forbidden(error)}.\n"
        f"Or {root}install Bazel 7.7.1 or bazelisk and put it on PATH (or name it in BAZELW_BAZEL)."
    )
