"""Make sure that nobody but the caller decides what is in the cache: it holds the programs we run.

A directory counts as the caller's when every directory on the way to it belongs to the caller or to
root and nobody else may write there. Directories with the sticky bit, as /tmp, may be on the way:
others cannot replace what is the caller's in them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tools.cli import ToolError

_LINKS = 40  # as many as the kernel follows
_OVERFLOW_UID = 65534  # what a user namespace shows for an owner that it does not know
_WAY_OUT = "set XDG_CACHE_HOME to a directory of your own"


def private_cache(cache: Path) -> None:
    """Make `cache` if need be and close it to other users; raise ToolError if it is not ours.

    Bazel opens its own directory, `CACHE/bazel`, to everybody at each start, so this one has to be
    closed: what Bazel logs has passwords in it.
    """
    umask = os.umask(0o077)
    try:
        os.makedirs(cache, exist_ok=True)
    except OSError as error:
        raise ToolError(f"cannot make the cache {cache}: {error}; {_WAY_OUT}") from error
    finally:
        os.umask(umask)
    check_owned(cache)
    if os.stat(cache).st_mode & 0o077:
        os.chmod(cache, 0o700)


def check_owned(directory: Path) -> None:
    """Raise ToolError when somebody else could have put or changed something in `directory`."""
    at, links = "/", 0
    pending = str(directory).split("/")
    while pending:
        name = pending.pop(0)
        if name in ("", ".", ".."):
            at = os.path.dirname(at) if name == ".." else at
            continue
        step = os.path.join(at, name)
        found = os.lstat(step)
        last = not any(pending)
        _check_owner(step, found, of=directory, last=last)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                raise ToolError(f"{directory} leads through too many links; {_WAY_OUT}")
            target = os.readlink(step)
            at = "/" if target.startswith("/") else at
            pending = [*target.split("/"), *pending]
            continue
        if _others_may_write(found) and (last or not found.st_mode & stat.S_ISVTX):
            raise ToolError(
                f"{step} may be written by other users (mode {found.st_mode & 0o7777:04o}), who"
                f" would decide what is in {directory}; {_WAY_OUT}, or, if they have"
                f" changed nothing, run: chmod go-w {step}"
            )
        at = step


def _check_owner(step: str, found: os.stat_result, *, of: Path, last: bool) -> None:
    uid = os.geteuid()
    on_the_way = not last or stat.S_ISLNK(found.st_mode)
    roots = found.st_uid == 0 or (found.st_uid == _OVERFLOW_UID and _in_user_namespace())
    if found.st_uid == uid or (on_the_way and roots):
        return
    raise ToolError(
        f"{step} belongs to user {found.st_uid}, who would decide what is in {of}, and not to you"
        f" (user {uid}); {_WAY_OUT}"
    )


def _others_may_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _private_group(found.st_gid)


def _private_group(gid: int) -> bool:
    """Return whether a group has no member but this user, as with a umask of 002 it should."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    same = user.pw_gid == gid and group.gr_name == user.pw_name
    return same and set(group.gr_mem) <= {user.pw_name}


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as stream:
        return stream.read().split() != ["0", "0", "4294967295"]
