"""Start the Podman of unpacked packages, for tests, in a namespace where it needs no root.

    python podman_for_test.py TREE STATE SHARED [podman's arguments]

TREE is the packages' file system, which becomes the root directory; STATE is Podman's storage
between calls; SHARED is a directory at the same path inside and outside. One user is mapped, so
images under test may use no other, and there are no cgroups: the namespace may not create any, and
crun rejects the mixed hierarchy of some machines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as

CONTAINERS_CONF = """
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "/run/libpod"
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "/var/lib/containers"
runroot = "/run/containers"
[storage.options.vfs]
ignore_chown_errors = "true"
"""
ETC = {
    "containers/containers.conf": CONTAINERS_CONF,
    "containers/storage.conf": STORAGE_CONF,
    "containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
    "containers/registries.conf": "",
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "hosts": "127.0.0.1 localhost\n",
    "resolv.conf": "",
}
ENVIRONMENT = {
    "PATH": "/usr/bin",
    "HOME": "/var",
    "XDG_RUNTIME_DIR": "/run",
    "CONTAINERS_STORAGE_CONF": "/etc/containers/storage.conf",
    # Podman's marks of a user namespace of its own: it then maps no other ids.
    "_CONTAINERS_USERNS_CONFIGURED": "done",
    # Anybody but root, or Podman takes the namespace for the machine's own.
    "_CONTAINERS_ROOTLESS_UID": "1000",
    "_CONTAINERS_ROOTLESS_GID": "1000",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
}


def enter(
    tree: Path, state: Path, shared: Path, *, etc: Mapping[str, str] = ETC, flags: int = 0
) -> None:
    """Make `tree` the root directory, with the files `etc`, in new user and mount namespaces.

    And in those of `flags`.
    """
    unshare_as(0, 0, linux.CLONE_NEWNS | flags)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    stage = state / "stage"
    for folder in (stage, state / "run", state / "var" / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    linux.mount("tmpfs", str(stage), "tmpfs")
    same = ["/proc", "/dev", str(shared)]
    if Path("/sys/fs/cgroup").is_dir():
        same.append("/sys")
    # Packages of Debian 13 and later have no /lib of their own.
    own = {str(tree / name): f"/{name}" for name in ("usr", "lib") if (tree / name).exists()}
    own |= {str(state / name): f"/{name}" for name in ("run", "var")}
    # SHARED comes last: it may be below one of Podman's own directories.
    for source, target in (own | {path: path for path in same}).items():
        Path(f"{stage}{target}").mkdir(parents=True, exist_ok=True)
        linux.mount(source, f"{stage}{target}", None, linux.MS_BIND | linux.MS_REC)
    cgroups = Path(f"{stage}/sys/fs/cgroup")
    cgroups.mkdir(parents=True, exist_ok=True)
    linux.mount("tmpfs", str(cgroups), "tmpfs")
    Path(stage, "tmp").mkdir(exist_ok=True)  # For the socket of a terminal.
    # Bazel rewrites absolute links of a tree to its own copy, also this one.
    Path(stage, "lib64").symlink_to("/lib/x86_64-linux-gnu")
    if not (tree / "lib").exists():
        Path(stage, "lib").symlink_to("usr/lib")
    for name, text in etc.items():
        path = Path(f"{stage}/etc/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    os.chdir(stage)
    linux.pivot_root_here()


def main() -> None:
    """Become Podman; see the module docstring."""
    tree, state, shared = map(Path, sys.argv[1:4])
    program = "podman.elf" if (tree / "usr/bin/podman.elf").exists() else "podman"
    enter(tree, state, shared)
    os.execve(f"/usr/bin/{program}", ["podman", *sys.argv[4:]], ENVIRONMENT)


if __name__ == "__main__":
    main()
