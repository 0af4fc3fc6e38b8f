"""Run a command as a user other than root: `python3 unprivileged.py COMMAND…`.

PostgreSQL refuses to run as root, and build sandboxes may have no other user. Root first tries to
enter a user namespace in which it has another uid (user_namespaces(7)); it still owns its files.
Where that is forbidden it switches to `nobody`, which requires files accessible to `nobody`.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
NOBODY = 65534  # initdb looks up its user by uid; every Debian has this one


def drop_root() -> None:
    """Stop being root, by whichever way is permitted. Raise OSError if none is."""
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
    drop_root()
    os.execvp(sys.argv[1], sys.argv[1:])
