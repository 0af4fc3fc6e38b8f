"""Writes /etc/passwd and /etc/group: root, nobody, and the users that an image asks for.

base-passwd's long list of system users serves daemons; none runs in an image. There is no
/etc/shadow, because nobody logs in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MOST = 2**32 - 2


class UserError(Exception):
    """A user that cannot be written; the message quotes it and says what is wrong."""


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
    """Reads "name:uid:gid:/home" or "name:uid:gid:/home:/shell"; raises UserError."""
    parts = text.split(":")
    if len(parts) not in (4, 5):
        raise UserError(f"user {text!r} is not of the form name:uid:gid:/home[:/shell]")
    name, uid, gid, home, *shell = parts
    if not _NAME.fullmatch(name):
        raise UserError(f"user {text!r}: {name!r} is not a user name")
    for number in (uid, gid):
        if not number.isascii() or not number.isdigit() or int(number) > _MOST:
            raise UserError(f"user {text!r}: {number!r} is not a uid or gid")
    for path in (home, *shell):
        if not path.startswith("/") or not path.isprintable():
            raise UserError(f"user {text!r}: {path!r} is not an absolute path")
    return User(name, int(uid), int(gid), home, *shell)


def passwd(users: Sequence[User]) -> bytes:
    """Returns /etc/passwd; raises UserError when a name or uid is taken twice."""
    lines: list[str] = []
    names: set[str] = set()
    uids: set[int] = set()
    for user in _everyone(users):
        if user.name in names or user.uid in uids:
            raise UserError(f"user {user.name!r}: its name or uid {user.uid} is taken already")
        names.add(user.name)
        uids.add(user.uid)
        lines.append(f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:{user.shell}\n")
    return "".join(lines).encode()


def group(users: Sequence[User]) -> bytes:
    """Returns /etc/group; users with the same gid share the first one's group."""
    groups: dict[int, str] = {}
    for user in _everyone(users):
        groups.setdefault(user.gid, user.group or user.name)
    return "".join(f"{name}:x:{gid}:\n" for gid, name in sorted(groups.items())).encode()


def _everyone(users: Sequence[User]) -> list[User]:
    return sorted((ROOT, NOBODY, *users), key=lambda user: user.uid)
