"""Write /etc/passwd and /etc/group: root, nobody, and the users that an image asks for.

base-passwd's long list of system users serves daemons; none runs in an image. There is no
/etc/shadow, because nobody logs in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tools.cli import ToolError

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MOST = 2**32 - 2


@dataclass(frozen=True)
class User:
    """A line of passwd(5); its group has the same name."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str = "/bin/sh"
    group: str = ""


ROOT = User("root", 0, 0, "/root")
NOBODY = User("nobody", 65534, 65534, "/nonexistent", "/usr/sbin/nologin", group="nogroup")


def parse_user(text: str) -> User:
    """Read "name:uid:gid:/home" or "name:uid:gid:/home:/shell"; raise ToolError."""
    parts = text.split(":")
    if len(parts) not in (4, 5):
        raise ToolError(f"user {text!r} is not of the form name:uid:gid:/home[:/shell]")
    name, uid, gid, home, *shell = parts
    if not _NAME.fullmatch(name):
        raise ToolError(f"user {text!r}: {name!r} is not a user name")
    for number in (uid, gid):
        if not number.isascii() or not number.isdigit() or int(number) > _MOST:
            raise ToolError(f"user {text!r}: {number!r} is not a uid or gid")
    for path in (home, *shell):
        if not path.startswith("/") or not path.isprintable():
            raise ToolError(f"user {text!r}: {path!r} is not an absolute path")
    return User(name, int(uid), int(gid), home, *shell)


def passwd(users: Sequence[User]) -> bytes:
    """Return /etc/passwd; raise ToolError when a name or uid is taken twice."""
    lines: list[str] = []
    names: set[str] = set()
    uids: set[int] = set()
    for user in _everyone(users):
        if user.name in names or user.uid in uids:
            raise ToolError(f"user {user.name!r}: its name or uid {user.uid} is taken already")
        names.add(user.name)
        uids.add(user.uid)
        lines.append(f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:{user.shell}\n")
    return "".join(lines).encode()


def group(users: Sequence[User]) -> bytes:
    """Return /etc/group; users with the same gid share the first one's group."""
    groups: dict[int, str] = {}
    for user in _everyone(users):
        groups.setdefault(user.gid, user.group or user.name)
    return "".join(f"{name}:x:{gid}:\n" for gid, name in sorted(groups.items())).encode()


def _everyone(users: Sequence[User]) -> list[User]:
    return sorted((ROOT, NOBODY, *users), key=lambda user: user.uid)
