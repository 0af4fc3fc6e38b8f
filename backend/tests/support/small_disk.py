"""Run a command with a small disk mounted on a directory: `small_disk.py DIR BYTES COMMAND…`.

The disk is a tmpfs visible only to the command, mounted in a mount namespace (mount_namespaces(7))
and, unless run as root, in a user namespace. After BYTES it really is full.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def mount(folder: str, size: int) -> None:
    """Mount an empty disk of `size` bytes on `folder` for this process and its children."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result: int, what: str) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNS) != 0:
        call(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    call(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "making mounts private")
    options = f"size={size},mode=700".encode()
    call(libc.mount(b"disk", folder.encode(), b"tmpfs", 0, options), f"mounting on {folder}")


if __name__ == "__main__":
    mount(sys.argv[1], int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
