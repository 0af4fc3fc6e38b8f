"""Unpack layers into a directory and run their programs with it as the root, unprivileged."""

import ctypes
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000  # sched.h
_MS_BIND, _MS_REC = 0x1000, 0x4000  # sys/mount.h


def unpack(layers: Iterable[Path], root: Path) -> None:
    """Unpack layers, lowest first; who may not give files away keeps them."""
    for layer in layers:
        with tarfile.open(layer) as tar:
            tar.extractall(root)  # Debian's 3.11.2 has no `filter`, and the layers are our own


def run_in(root: Path, *command: str) -> str:
    """Run a command in its own user and mount namespaces, with `root` as / and a bare environment.

    Returns its standard output; an exit code other than 0 fails the test with the error output.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()

    def enter() -> None:
        # Root of a new user namespace may change its root, which an ordinary user may not.
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        dev = os.fsencode(root / "dev")
        if libc.mount(b"/dev", dev, None, ctypes.c_ulong(_MS_BIND | _MS_REC), None):
            raise OSError(ctypes.get_errno(), "mount /dev")
        os.chroot(root)
        os.chdir("/")

    done = subprocess.run(
        command,
        preexec_fn=enter,
        # Without bytecode of its own: tests look at what the layers brought.
        env={"PATH": "/usr/bin:/usr/sbin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}{done.stdout}"
    return done.stdout
