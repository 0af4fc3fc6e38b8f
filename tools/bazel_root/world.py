"""Decide what Bazel sees inside the private root: the host's directories, and a small /etc."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from tools.bazel_root.enter import HIDDEN, HOST_ETC, SPECIAL, World
from tools.bazel_root.trust import BUNDLE, STORE

# What programs started by `bazel run` need from the host's /etc: users, name resolution, container
# registries. Links, not copies: a server lives for hours, and a laptop changes networks meanwhile.
_FROM_HOST = (
    *("containers", "docker", "group", "hostname", "hosts", "passwd", "resolv.conf"),
    *("subgid", "subuid"),
)

# Where tests find the images that others have unpacked: a link below /etc, so that the path, on
# which a test's cached result depends, is the same for every user.
ROOTFS_CACHE = "pinned_image/rootfs"


def make_world(cache: Path, *, root: Path, trust: Path) -> World:
    """Return what the user sees at this moment; `trust` is a directory of trust.py."""
    binds = host_directories()
    settings = bazelrc(cache, root=root, trust=trust, binds=binds)
    files = {"bazel/bazelrc": settings.encode(), **_user(os.getuid())}
    zone = Path("/etc/localtime")
    if zone.is_file():  # on the host a link into /usr, to a file that the root does not have
        files["localtime"] = zone.read_bytes()
    links = {name: f"/usr/etc/{name}" for name in os.listdir(root / "usr" / "etc")}
    links.update((n, f"/{HOST_ETC}/{n}") for n in _FROM_HOST if os.path.lexists(f"/etc/{n}"))
    links[ROOTFS_CACHE] = str(cache / "rootfs")
    links[f"ssl/certs/{BUNDLE}"] = str(trust / BUNDLE)
    links["ssl/certs/java/cacerts"] = str(trust / STORE)
    links = {path: target for path, target in links.items() if path not in files}
    return World(root=str(root), binds=binds, files=files, links=links)


def host_directories() -> tuple[str, ...]:
    """Return the names of the host's top-level directories that Bazel is to see, sorted."""
    hidden = HIDDEN | SPECIAL
    return tuple(n for n in sorted(os.listdir("/")) if n not in hidden and os.path.isdir("/" + n))


def bazelrc(cache: Path, *, root: Path, trust: Path, binds: tuple[str, ...]) -> str:
    """Return the root's system-wide settings: where things are, and no policy.

    A server keeps the root, the mounts and the trust store of the command that started it. The
    properties make Bazel restart it when one of them changes; nothing reads `pinned_image.world`.
    """
    # A root that was deleted and built again has the same name, but the server has the old one.
    made = (root / "usr").stat()
    identity = [root.name, str(made.st_ino), str(made.st_mtime_ns), *binds, ROOTFS_CACHE]
    world = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    lines = [
        # Not /usr/share/bazel, which is the same inside: `@bazel_tools` is a link into it, and what
        # `bazelw run` starts follows that link on the host.
        f"startup --install_base={_quoted(str(root / 'usr/share/bazel'))}",
        "startup --trust_install_base",
        "startup --server_javabase=/usr/lib/jvm/default-java",
        f"startup --output_user_root={_quoted(str(cache / 'bazel'))}",
        f"startup --host_jvm_args={_quoted(f'-Djavax.net.ssl.trustStore={trust / STORE}')}",
        f"startup --host_jvm_args=-Dpinned_image.world={world}",
        # A directory of resources: which version this is. Without it `bazel version` fails.
        "startup --host_jvm_args=-Xbootclasspath/a:/usr/share/bazel/build-data",
        # `build`, so that build and test share one analysis; tools/container says what it is for.
        f"build --test_env=ROOTFS_CACHE=/etc/{ROOTFS_CACHE}",
        f"test --sandbox_writable_path={_quoted(str(cache / 'rootfs'))}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """Quote a word for a bazelrc file, which splits lines as a shell does."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _user(uid: int) -> dict[str, bytes]:
    """Return a passwd file if the host's does not list the user (LDAP and the like)."""
    try:
        users = Path("/etc/passwd").read_bytes()
    except FileNotFoundError:
        users = b""
    if re.search(rb"^[^:]*:[^:]*:%d:" % uid, users, flags=re.MULTILINE):
        return {}
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return {}  # no name at all: a container started with a numeric user
    line = f"{entry.pw_name}:x:{uid}:{entry.pw_gid}:{entry.pw_gecos}:{entry.pw_dir}:/bin/sh\n"
    return {"passwd": users.rstrip(b"\n") + b"\n" + line.encode()}
