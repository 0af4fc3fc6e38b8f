"""Build Bazel's private root from its lock: packages in, `CACHE/roots/<key>/` out.

    CACHE/debs/<sha256>.deb    downloaded packages, shared by all roots
    CACHE/roots/<key>/usr      the root: everything is under usr, its configuration in usr/etc

A root is built beside its final place, synced and then renamed, under a lock that makes a second
bazelw wait: however a build is interrupted, a root that exists is complete.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bazel_root.certificates import certificates, pem_bundle
from tools.bazel_root.download import CancelledError, Store
from tools.bazel_root.extract import MERGED, root_extractor
from tools.bazel_root.lockfile import RootPackage
from tools.bazel_root.progress import Progress
from tools.linux.architectures import ARCHITECTURES

if TYPE_CHECKING:
    import ssl

_KEEP = 60 * 24 * 3600  # seconds that an unused root or package is kept
_WORKERS = 6  # downloads wait for the network, and unpacking releases the interpreter's lock


def build_root(
    target: Path,
    *,
    cache: Path,
    packages: tuple[RootPackage, ...],
    arch: str,
    mirrors: Sequence[str],
    context: ssl.SSLContext | None = None,
) -> None:
    """Make `target`, unless it exists or another process has just made it.

    Raise ToolError for every problem that the user can fix. A failed build leaves nothing behind
    but verified downloads.
    """
    roots, debs = target.parent, cache / "debs"
    for directory in (roots, debs):
        directory.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "build.lock"):
        if target.is_dir():
            return
        for leftover in roots.glob("tmp.*"):  # of a build that was killed; only one runs at a time
            _remove(leftover)
        _remove_unused(roots, debs)
        scratch = Path(tempfile.mkdtemp(prefix="tmp.", dir=roots))
        try:
            _fill(scratch, packages=packages, debs=debs, mirrors=mirrors, context=context)
            finish(scratch / "root", arch=arch)
            _sync(roots)
            os.rename(scratch / "root", target)
        finally:
            _remove(scratch)


def finish(root: Path, *, arch: str) -> None:
    """Do what Bazel needs of the work of the packages' maintainer scripts."""
    usr, triplet = root / "usr", ARCHITECTURES[arch].triplet
    (usr / "bin" / "awk").symlink_to("mawk")
    (usr / "bin" / "which").symlink_to("which.debianutils")
    (usr / "lib" / "jvm" / "default-java").symlink_to(f"java-21-openjdk-{arch}")
    # Debian's server looks for it beside its jars, and crashes on zstd archives when it is missing.
    (usr / "share" / "bazel" / "libzstd-jni.so").symlink_to(f"../../lib/{triplet}/libzstd-jni.so")
    # What `bazel version` reports, and Debian's server lacks; world.py puts it on the path.
    label = (usr / "share" / "bazel" / "build-label.txt").read_text(encoding="utf-8").strip()
    (usr / "share" / "bazel" / "build-data").mkdir()
    data = usr / "share" / "bazel" / "build-data" / "build-data.properties"
    data.write_text(f"build.label={label}\n", encoding="utf-8")
    # Everything in one tree: it is mounted in one step, and /etc is made afresh at each start.
    os.rename(root / "etc", usr / "etc")
    shutil.rmtree(usr / "etc" / "bazel")  # Debian's settings; launcher.py writes its own
    shutil.rmtree(usr / "etc" / "ssl", ignore_errors=True)  # made by trust.py
    authorities = sorted((usr / "share" / "ca-certificates" / "mozilla").glob("*.crt"))
    bundle = pem_bundle(certificates(path.read_bytes() for path in authorities))
    (usr / "share" / "ca-bundle.pem").write_bytes(bundle)
    for mount_point in ("local", "src"):  # the host's own
        (usr / mount_point).mkdir(exist_ok=True)
    (root / "mnt").mkdir()  # where enter.py puts the new root file system


def _fill(
    scratch: Path,
    *,
    packages: tuple[RootPackage, ...],
    debs: Path,
    mirrors: Sequence[str],
    context: ssl.SSLContext | None,
) -> None:
    """Download and unpack all packages; the first failure stops the others."""
    root = scratch / "root"
    root.mkdir()
    (root / "usr").mkdir()
    for name in MERGED:
        (root / name).symlink_to(f"usr/{name}")
        (root / "usr" / name).mkdir()
    total = sum(package.size for package in packages)
    progress = Progress(total_bytes=total, packages=len(packages))
    cancelled = threading.Event()
    store = Store(
        debs,
        scratch=scratch,
        mirrors=mirrors,
        on_bytes=progress.downloaded,
        cancelled=cancelled,
        context=context,
    )
    extractor = root_extractor(root)

    def install(package: RootPackage) -> None:
        if cancelled.is_set():
            raise CancelledError
        extractor.extract(store.fetch(package))
        progress.unpacked()

    print(f"bazelw: preparing Bazel in {scratch.parent} (once)", file=sys.stderr)
    pool = ThreadPoolExecutor(max_workers=_WORKERS)
    try:
        # The largest first, so that the last one to finish is a small one.
        ordered = sorted(packages, key=lambda package: -package.size)
        jobs = [pool.submit(install, package) for package in ordered]
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        errors = [error for error in (job.exception() for job in done) if error is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, CancelledError)):
            raise error
    finally:
        cancelled.set()
        # Threads may be waiting for the network, and the user (Ctrl-C) for the prompt: leave them.
        pool.shutdown(wait=False, cancel_futures=True)
        progress.close()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with open(path, "a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("bazelw: waiting for another bazelw that prepares Bazel", file=sys.stderr)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove_unused(*directories: Path) -> None:
    """Remove what has not been used for _KEEP; each start and each use renews the timestamp."""
    oldest = time.time() - _KEEP
    for directory in directories:
        for entry in directory.iterdir():
            if entry.stat().st_mtime < oldest:
                _remove(entry) if entry.is_dir() else entry.unlink()


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Sync the file system, so that a power cut cannot leave a renamed but incomplete root."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", str(directory))
    finally:
        os.close(handle)
