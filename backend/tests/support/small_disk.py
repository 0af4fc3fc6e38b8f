"""Runs a command for which a folder is a disk of its own: `small_disk.py DIR BYTES COMMAND…`.

The disk is a tmpfs that only the command sees, mounted in a mount namespace (mount_namespaces(7))
and, for whoever is not root, in a user namespace. It is full when BYTES are written, for real.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def mount(folder: str, size: int) -> None:
    """Mount an empty disk of `size` bytes on `folder`, for this process and those it starts."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(answer: int, what: str) -> None:
        if answer != 0:
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
