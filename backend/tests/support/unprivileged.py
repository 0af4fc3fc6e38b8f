"""Runs a command as somebody who is not root: `python3 unprivileged.py COMMAND…`.

PostgreSQL refuses to run as root, and build sandboxes may know no other user. So root first tries
to enter a user namespace in which it is called otherwise (user_namespaces(7)); its files stay its
own. Where that is forbidden it changes to `nobody`, which needs files that nobody can reach.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
NOBODY = 65534  # initdb looks its user up by number; every Debian knows this one


def become_somebody() -> None:
    """Stop being root, by whichever way is open. Raises OSError when none is."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) == 0:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} 0 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} 0 1", encoding="ascii")
        return
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


if __name__ == "__main__":
    become_somebody()
    os.execvp(sys.argv[1], sys.argv[1:])
