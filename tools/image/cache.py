"""A cache of unpacked images, shared by every process of a user.

    with unpacked(image.layers, scratch=directory) as rootfs: ...   # rootfs.path, rootfs.tree

The key is the hash of the layers' digests, so two images that differ in their configuration only
share one root file system. `keep_prefix` also keeps all layers but the last, and those small ones
below it that an application may be split into: when one of them changes, the files below are
hard-linked, not unpacked again, by whoever comes then.

    ROOT/<key>/rootfs/     the files        ROOT/<key>/tree.json   owners and modes (tree.py)
    ROOT/<key>/seal.json   type, mode, size and time of every file, and how many bytes they are
    ROOT/<key>.lock        flock: exclusive while building or deleting, shared while in use
    ROOT/<key>.tmp/        being built; renamed when complete, removed by the next who finds it

Nothing half-built is ever used: an entry is renamed into place when it is complete, and a lock
dies with the process that holds it. Nothing changed is used either: the seal is compared at each
use, and an entry that does not agree (a file edited by hand, a disk that lost power) is unpacked
again. Containers see the files through read-only mounts, so none of them can be the cause.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.archive.layer_stream import LayerBlob
from tools.archive.tar_stream import LayerError
from tools.image.scratch import remove_tree
from tools.image.tree import Tree
from tools.image.unpack import DEFAULT_LIMITS, Limits, unpack

FORMAT = "3"  # Part of the key; raise it when what an entry holds changes.
KEEP_ENTRIES = 32  # More than one run of all tests unpacks, or each run would unpack some again.
KEEP_BYTES = 8 << 30  # Of all entries; files that two of them share count twice.
SMALL_LAYER = 1 << 20  # Bytes of a layer that is unpacked again with the last one.
MAX_AGE = 14 * 24 * 3600  # Seconds since the last use.

ENTRY = re.compile(r"([0-9a-f]{64})(\.tmp|\.lock)?")
SHARED_ROOT = "ROOTFS_CACHE"  # Name of an environment variable.

# Where processes expect kernel file systems and engines put files. They exist in every entry, so
# that a read-only root file system has something to mount on. The tree does not list them.
MOUNT_POINTS = ("proc", "dev", "tmp")


@dataclass(frozen=True)
class Rootfs:
    """An unpacked image: its directory on disk, and who owns what according to the layers."""

    path: Path
    tree: Tree


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_CACHE_HOME/pinned_image/rootfs`, or below ~/.cache (XDG Base Directory spec)."""
    home = environ.get("XDG_CACHE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".cache"
    )
    return Path(home) / "pinned_image" / "rootfs"


def shared_root(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return $ROOTFS_CACHE, where tests share unpacked images, if it is the caller's own.

    Under Bazel a test may write nothing but its own temporary directory unless somebody says so
    (README.md, "Cache"); None then, and when there is no such directory or others could have
    written there.
    """
    root = environ.get(SHARED_ROOT)
    if not root:
        return None
    try:
        info = os.stat(root)
    except OSError:
        return None
    usable = info.st_uid == os.geteuid() and not info.st_mode & 0o022
    return Path(root) if usable and os.access(root, os.R_OK | os.W_OK | os.X_OK) else None


class Cache:
    """The cache below `root`, which is created private to the user when it is missing."""

    def __init__(self, root: Path, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._root = root
        self._limits = limits

    @contextlib.contextmanager
    def rootfs(
        self,
        layers: Sequence[LayerBlob],
        *,
        keep_prefix: bool = False,
        on_unpack: Callable[[], None] = lambda: None,
    ) -> Iterator[Rootfs]:
        """Yield the unpacked layers, held against deletion while the context is open.

        `on_unpack` is called when the layers are not in the cache yet. Raise LayerError for
        damaged or hostile layers and for a disk that is full or not writable.
        """
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(_key(layers), fcntl.LOCK_SH) as found:
                if found is not None:
                    yield self._load(found)
                    return
            on_unpack()
            self._build(layers, keep_prefix=keep_prefix)
            with self._locked(_key(layers), fcntl.LOCK_SH) as found:
                if found is None:
                    raise LayerError(f"{self._root}: another process deleted the entry; try again")
                self._evict()
                yield self._load(found)
        except OSError as error:
            # Only our own files are named by it: users of the context raise their own errors.
            if error.filename is None or not str(error.filename).startswith(str(self._root)):
                raise
            raise LayerError(
                f"{self._root}: cannot hold the unpacked image: {error.strerror}"
            ) from error

    @contextlib.contextmanager
    def existing(self, layers: Sequence[LayerBlob]) -> Iterator[Rootfs | None]:
        """Yield the layers if they are in the cache, held as by `rootfs`; None otherwise."""
        if not (self._root / _key(layers)).is_dir():
            yield None
            return
        with self._locked(_key(layers), fcntl.LOCK_SH) as found:
            yield None if found is None else self._load(found)

    def _load(self, entry: Path) -> Rootfs:
        os.utime(entry)
        return Rootfs(entry / "rootfs", Tree.from_json((entry / "tree.json").read_text()))

    @contextlib.contextmanager
    def _locked(self, key: str, operation: int) -> Iterator[Path | None]:
        """Hold the lock of a key; yield its entry if it exists and is unchanged."""
        handle = self._lock(key, operation)
        try:
            entry = self._root / key
            yield entry if _intact(entry) else None
        finally:
            os.close(handle)

    def _lock(self, key: str, operation: int) -> int:
        path = self._root / f"{key}.lock"
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, operation)
                # The eviction may have deleted the file between open and flock.
                if os.fstat(handle).st_nlink:
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _build(self, layers: Sequence[LayerBlob], *, keep_prefix: bool) -> None:
        key = _key(layers)
        with self._locked(key, fcntl.LOCK_EX) as found:
            if found is not None:
                return
            remove_tree(self._root / key)
            temporary = self._root / f"{key}.tmp"
            remove_tree(temporary)
            try:
                temporary.mkdir(mode=0o700)
                (temporary / "rootfs").mkdir(mode=0o755)
                tree, first = Tree(), self._shared(layers, keep_prefix=keep_prefix)
                if first:
                    with self.rootfs(layers[:first]) as base:
                        tree = base.tree
                        _link_tree(base.path, temporary / "rootfs")
                    for name in MOUNT_POINTS:
                        # Not of the layers below, and those above may have something else there.
                        if tree.get((name,)) is None:
                            (temporary / "rootfs" / name).rmdir()
                tree = unpack(
                    layers, temporary / "rootfs", tree=tree, first=first, limits=self._limits
                )
                (temporary / "tree.json").write_text(tree.to_json())
                for name in MOUNT_POINTS:
                    with contextlib.suppress(FileExistsError):
                        (temporary / "rootfs" / name).mkdir()
                (temporary / "seal.json").write_text(json.dumps(_seal(temporary)))
                temporary.rename(self._root / key)
            except BaseException:
                remove_tree(temporary)
                raise

    def _shared(self, layers: Sequence[LayerBlob], *, keep_prefix: bool) -> int:
        """Return how many of the lowest layers are taken from an entry of their own."""
        for count in range(len(layers) - 1, 0, -1):
            if (self._root / _key(layers[:count])).exists():
                return count
        count = len(layers) - 1 if keep_prefix else 0
        while count > 1 and layers[count - 1].size <= SMALL_LAYER:
            count -= 1
        return count

    def _evict(self) -> None:
        """Delete unused entries: all but the newest few, and those not used for long."""
        # A clock is right here: how long something is cached never changes what is built.
        oldest = time.time() - MAX_AGE
        names = (ENTRY.fullmatch(path.name) for path in self._root.iterdir())
        ages = {name[1]: _age(self._root / name[1]) for name in names if name}
        count = total = 0
        for key in sorted(ages, key=lambda key: -ages[key]):
            if ages[key]:
                count += 1
                total += _bytes_of(self._root / key)
                if count <= KEEP_ENTRIES and total <= KEEP_BYTES and ages[key] > oldest:
                    continue
            self._remove(key)

    def _remove(self, key: str) -> None:
        """Delete an entry and the remains of building it, unless its lock is held."""
        with contextlib.suppress(BlockingIOError):
            handle = self._lock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                doomed = self._root / f"{key}.tmp"
                remove_tree(doomed)
                if (self._root / key).exists():
                    (self._root / key).rename(doomed)
                    remove_tree(doomed)
                (self._root / f"{key}.lock").unlink()
            finally:
                os.close(handle)


def _key(layers: Sequence[LayerBlob]) -> str:
    text = "\n".join((FORMAT, *(layer.digest for layer in layers)))
    return hashlib.sha256(text.encode()).hexdigest()


def _age(entry: Path) -> float:
    """Return when an entry was last used; 0 if only remains of a killed process exist."""
    with contextlib.suppress(OSError):
        return entry.stat().st_mtime
    return 0.0


def _seal(entry: Path) -> dict[str, object]:
    """Return a digest of the current metadata of an entry's files, and their total bytes."""
    state = hashlib.sha256((entry / "tree.json").read_bytes())
    total = 0
    top = os.fsencode(entry / "rootfs")
    pending = [top]
    while pending:
        with os.scandir(pending.pop()) as found:
            items = sorted(found, key=lambda item: item.name)
        for item in items:
            info = item.stat(follow_symlinks=False)
            line = (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ino)
            state.update(b"%s\0%d %d %d %d\n" % (item.path[len(top) :], *line))
            if item.is_dir(follow_symlinks=False):
                pending.append(item.path)
            else:
                total += info.st_size
    return {"digest": state.hexdigest(), "bytes": total}


def _intact(entry: Path) -> bool:
    """Return whether an entry is there and nothing in it has changed since it was built."""
    try:
        return bool(json.loads((entry / "seal.json").read_text()) == _seal(entry))
    except (OSError, ValueError):
        return False


def _bytes_of(entry: Path) -> int:
    try:
        return int(json.loads((entry / "seal.json").read_text())["bytes"])
    except (OSError, ValueError, KeyError):
        return 0


def _link_tree(source: Path, target: Path) -> None:
    """Copy a tree by hard links; the files are never written again, so sharing them is safe."""
    directories = [(os.fspath(source), os.fspath(target))]
    for old, new in directories:
        with os.scandir(old) as found:
            for item in found:
                copy = f"{new}/{item.name}"
                if item.is_dir(follow_symlinks=False):
                    os.mkdir(copy, 0o700)
                    directories.append((item.path, copy))
                else:
                    os.link(item.path, copy, follow_symlinks=False)
    for old, new in reversed(directories):
        shutil.copystat(old, new)


@contextlib.contextmanager
def unpacked(layers: Sequence[LayerBlob], *, scratch: Path) -> Iterator[Rootfs]:
    """Yield the unpacked layers from the cache that tests share, or from one below `scratch`.

    Raise LayerError as `Cache.rootfs` does.
    """
    shared = shared_root()
    with Cache(shared or scratch / "cache").rootfs(
        layers, keep_prefix=shared is not None
    ) as rootfs:
        yield rootfs
