"""Starts Bazel: a suitable one of the user's own, else the one in the private root.

This module runs at every start, so it imports little and leaves the building of the root to modules
that are loaded only then.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.bazel_root.enter import World, check_visible, enter, host_directories
from tools.bazel_root.environment import bazel_environment
from tools.bazel_root.errors import BazelRootError
from tools.bazel_root.host_bazel import find_host_bazel
from tools.bazel_root.trust import BUNDLE, STORE, trust_directory

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "third_party" / "bazel" / "root.lock.json"
# A root made by other code is another root.
_RECIPE = ("build.py", "certificates.py", "extract.py")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def main(argv: list[str]) -> int:
    """Becomes Bazel; returns only when that is not possible."""
    try:
        _start(argv)
    except BazelRootError as error:
        print(f"bazelw: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbazelw: interrupted; the next start goes on where this one stopped", file=sys.stderr)
        return 130
    return 1


def _start(argv: list[str]) -> None:
    environ = dict(os.environ)
    cache = cache_directory(environ)
    host = find_host_bazel(environ, cache=cache, workspace=REPOSITORY)
    if host is not None:
        try:
            os.execv(host, [host, *argv])
        except OSError as error:
            raise BazelRootError(f"cannot start {host}: {error}") from error
    arch = architecture(sys.platform, os.uname().machine)
    cwd = os.getcwd()
    for what, path in (("the working directory", cwd), ("the cache", str(cache))):
        check_visible(path, what=what)
    key = root_key(arch)
    root = cache / "roots" / key
    if not root.is_dir():
        _build(root, cache=cache, arch=arch, environ=environ)
    trust = trust_directory(cache, root=root, environ=environ)
    binds = host_directories()
    world = World(
        root=str(root),
        binds=binds,
        etc={"bazel/bazelrc": bazelrc(cache, key=key, trust=trust, binds=binds).encode()},
        links={
            "ssl/certs/ca-certificates.crt": str(trust / BUNDLE),
            "ssl/certs/java/cacerts": str(trust / STORE),
        },
    )
    enter(world, argv=["/usr/bin/bazel", *argv], environ=bazel_environment(environ), cwd=cwd)


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Returns the directory for everything that bazelw keeps."""
    base = environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "pinned_image"


def architecture(platform: str, machine: str) -> str:
    """Returns Debian's name of this machine's architecture, or raises BazelRootError."""
    if platform != "linux" or machine not in _ARCHITECTURES:
        raise BazelRootError(
            f"Bazel's private root runs on Linux on {' or '.join(_ARCHITECTURES)}, and this is {platform} "
            f"on {machine}; install Bazel 7 or bazelisk and put it on PATH"
        )
    return _ARCHITECTURES[machine]


def root_key(arch: str) -> str:
    """Returns the name of the root that this lock and this recipe make."""
    digest = hashlib.sha256(arch.encode())
    directory = Path(__file__).parent
    for path in (LOCK, *(directory / name for name in _RECIPE)):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise BazelRootError(f"{path}: {error.strerror}; the checkout is incomplete") from error
    return digest.hexdigest()[:32]


def bazelrc(cache: Path, *, key: str, trust: Path, binds: tuple[str, ...]) -> str:
    """Returns the root's system-wide settings: where things are, and no policy.

    A server keeps the mounts and the trust store of the call that started it. The two properties
    make Bazel restart it when those change; the program reads neither of `pinned_image`'s.
    """
    world = hashlib.sha256("\0".join(binds).encode()).hexdigest()[:16]
    lines = [
        "startup --install_base=/usr/share/bazel",
        "startup --trust_install_base",
        "startup --server_javabase=/usr/lib/jvm/default-java",
        f"startup --output_user_root={_quoted(cache / 'bazel' / key)}",
        f"startup --host_jvm_args={_quoted(f'-Djavax.net.ssl.trustStore={trust / STORE}')}",
        f"startup --host_jvm_args=-Dpinned_image.mounts={world}",
        f"common --repository_cache={_quoted(cache / 'repositories')}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _build(root: Path, *, cache: Path, arch: str, environ: Mapping[str, str]) -> None:
    from tools.bazel_root.prepare import prepare

    prepare(root, cache=cache, arch=arch, lock_file=LOCK, environ=environ)
