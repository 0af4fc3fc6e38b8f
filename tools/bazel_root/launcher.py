"""Start Bazel: a suitable one of the user's own, else the one in the private root.

This module runs at every start: it imports little, and what builds the root is imported only then.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.bazel_root.descriptors import keep_standard_streams
from tools.bazel_root.host_bazel import find_host_bazel
from tools.bazel_root.ownership import check_owned, private_cache
from tools.bazel_root.run_outside import script_wanted
from tools.cli import ToolError, tool
from tools.linux.architectures import BY_MACHINE

# Where our own files are, which a user may have anywhere; never the workspace that is built.
REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "third_party" / "bazel" / "root.lock.json"
# What marks the top of a workspace.
_BOUNDARIES = ("MODULE.bazel", "REPO.bazel", "WORKSPACE.bazel", "WORKSPACE")
# A root made by other code is another root.
_RECIPE = (
    "archive/deb_extract.py",
    "bazel_root/build.py",
    "bazel_root/certificates.py",
    "bazel_root/extract.py",
)


@tool("bazelw")
def main(argv: list[str] | None = None) -> int:
    """Become Bazel; return an exit code when that fails or there is nothing to run."""
    try:
        return _start(argv or [])
    except KeyboardInterrupt:
        print("bazelw: interrupted; the next start resumes where this one stopped", file=sys.stderr)
        return 130


def _start(argv: list[str]) -> int:
    environ = dict(os.environ)
    cache = cache_directory(environ)
    host = find_host_bazel(environ, cache=cache, workspace=workspace_directory(Path.cwd()))
    if host is not None:
        if not script_wanted(argv):  # else Bazel's client becomes the program that it runs
            keep_standard_streams(argv)
        try:
            os.execv(host, [host, *argv])
        except OSError as error:
            raise ToolError(f"cannot start {host}: {error}") from error
    return _start_private(argv, environ=environ, cache=cache)


def _start_private(argv: list[str], *, environ: Mapping[str, str], cache: Path) -> int:
    # Only here: inside the root bazelw finds the root's own Bazel, and the root's small Python
    # lacks modules that these import.
    from tools.bazel_root.enter import check_visible, enter
    from tools.bazel_root.environment import bazel_environment
    from tools.bazel_root.run_outside import run_outside
    from tools.bazel_root.trust import trust_directory
    from tools.bazel_root.world import make_world

    arch = architecture(sys.platform, os.uname().machine)
    cwd = os.getcwd()
    for what, path in (("the working directory", cwd), ("the cache", str(cache))):
        check_visible(path, what=what)
    key = root_key(arch)
    root = cache / "roots" / key
    private_cache(cache)
    known = [cache / name for name in ("roots", "debs", "trust", "bazel", "rootfs")]
    for directory in (*known, root / "usr"):
        if os.path.lexists(directory):
            check_owned(directory)
    if not root.is_dir():
        _build(root, cache=cache, arch=arch, environ=environ)
    os.utime(root)  # build.py removes roots that have not been used for a long time
    (cache / "bazel").mkdir(mode=0o700, exist_ok=True)
    # Bazel refuses to make a directory writable in its sandbox that does not exist.
    (cache / "rootfs").mkdir(mode=0o700, exist_ok=True)
    trust = trust_directory(cache, root=root, environ=environ)
    world = make_world(cache, root=root, trust=trust)
    inside = bazel_environment(environ)

    def become_bazel(arguments: list[str]) -> None:
        keep_standard_streams(arguments)
        enter(world, argv=["/usr/bin/bazel", *arguments], environ=inside, cwd=cwd)

    if not script_wanted(argv):
        become_bazel(argv)
    return run_outside(argv, scratch=cache, become_bazel=become_bazel)


def workspace_directory(directory: Path) -> Path:
    """Return the workspace that `directory` is in, as Bazel finds it; else `directory` itself.

    It need not be the repository of this file: a workspace may use the bazelw of a release archive.
    """
    for parent in (directory, *directory.parents):
        if any((parent / name).is_file() for name in _BOUNDARIES):
            return parent
    return directory


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory for everything that bazelw keeps."""
    base = environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        raise ToolError("this user has no home directory; set XDG_CACHE_HOME to a directory")
    return Path(base) / "pinned_image"


def architecture(platform: str, machine: str) -> str:
    """Return Debian's name of this machine's architecture, or raise ToolError."""
    if platform != "linux" or machine not in BY_MACHINE:
        raise ToolError(
            f"Bazel's private root runs on Linux on {' or '.join(BY_MACHINE)}, and this is "
            f"{platform} on {machine}; install Bazel 7 or bazelisk and put it on PATH"
        )
    return BY_MACHINE[machine].name


def root_key(arch: str) -> str:
    """Return the name of the root that this lock and this recipe make."""
    directory = REPOSITORY / "tools"
    digest = hashlib.sha256(arch.encode())
    try:
        digest.update(hashlib.sha256(LOCK.read_bytes()).digest())
        for name in _RECIPE:
            digest.update(hashlib.sha256((directory / name).read_bytes()).digest())
    except OSError as error:
        raise ToolError(
            f"{error.filename}: {error.strerror}; the checkout or release archive is incomplete"
        ) from error
    return digest.hexdigest()[:32]


def _build(root: Path, *, cache: Path, arch: str, environ: Mapping[str, str]) -> None:
    from tools.bazel_root.prepare import prepare

    prepare(root, cache=cache, arch=arch, lock_file=LOCK, environ=environ)
