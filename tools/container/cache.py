"""A cache of unpacked images, shared by every process of a user.

    with Cache(default_root()).rootfs(image.layers) as rootfs: ...   # rootfs.path, rootfs.tree

The key is the hash of the layers' digests, so two images that differ in their configuration only
share one root file system. `keep_prefix` also keeps all layers but the last: when only the last
one changes, the files below are hard-linked, not unpacked again.

    ROOT/<key>/rootfs/     the files        ROOT/<key>/tree.json   owners and modes (tree.py)
    ROOT/<key>.lock        flock: exclusive while building or deleting, shared while in use
    ROOT/<key>.tmp/        being built; renamed when complete, removed by the next who finds it

Nothing half-built is ever used: an entry is renamed into place when it is complete, and a lock
dies with the process that holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.container.tar_stream import LayerBlob, LayerError
from tools.container.tree import Tree
from tools.container.unpack import DEFAULT_LIMITS, Limits, unpack

FORMAT = "1"  # Part of the key; raise it when what an entry holds changes.
KEEP_ENTRIES = 6
MAX_AGE = 14 * 24 * 3600  # Seconds since the last use.

# Where processes expect kernel file systems and engines put files. They exist in every entry, so
# that a read-only root file system has something to mount on. The tree does not list them.
MOUNT_POINTS = ("proc", "dev", "tmp")


@dataclass(frozen=True)
class Rootfs:
    """An unpacked image: its directory on disk, and who owns what according to the layers."""

    path: Path
    tree: Tree


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/pinned_image/rootfs`, or below ~/.cache (XDG Base Directory spec)."""
    home = environ.get("XDG_CACHE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".cache"
    )
    return Path(home) / "pinned_image" / "rootfs"


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
        """The unpacked layers, held against deletion while the context is open.

        `on_unpack` is called when the layers are not in the cache yet. Raises LayerError for
        damaged or hostile layers and for a disk that is full or not writable.
        """
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(_key(layers), shared=True) as found:
                if found is not None:
                    yield self._load(found)
                    return
            on_unpack()
            self._build(layers, keep_prefix=keep_prefix)
            with self._locked(_key(layers), shared=True) as found:
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

    def _load(self, entry: Path) -> Rootfs:
        os.utime(entry)
        return Rootfs(entry / "rootfs", Tree.from_json((entry / "tree.json").read_text()))

    @contextlib.contextmanager
    def _locked(self, key: str, *, shared: bool) -> Iterator[Path | None]:
        """Holds the lock of a key; yields its entry when it exists."""
        handle = self._lock(key, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            entry = self._root / key
            yield entry if entry.is_dir() else None
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
        with self._locked(key, shared=False) as found:
            if found is not None:
                return
            temporary = self._root / f"{key}.tmp"
            remove_tree(temporary)
            try:
                temporary.mkdir(mode=0o700)
                (temporary / "rootfs").mkdir(mode=0o755)
                tree, first = Tree(), 0
                if keep_prefix and len(layers) > 1:
                    first = len(layers) - 1
                    with self.rootfs(layers[:-1]) as base:
                        tree = base.tree
                        _link_tree(base.path, temporary / "rootfs")
                tree = unpack(
                    layers, temporary / "rootfs", tree=tree, first=first, limits=self._limits
                )
                (temporary / "tree.json").write_text(tree.to_json())
                for name in MOUNT_POINTS:
                    with contextlib.suppress(FileExistsError):
                        (temporary / "rootfs" / name).mkdir()
                temporary.rename(self._root / key)
            except BaseException:
                remove_tree(temporary)
                raise

    def _evict(self) -> None:
        """Deletes entries nobody uses: all but the newest few, and those not used for long."""
        entries = sorted(
            (path for path in self._root.iterdir() if path.is_dir() and "." not in path.name),
            key=lambda path: -path.stat().st_mtime,
        )
        # A clock is right here: how long something is cached never changes what is built.
        oldest = time.time() - MAX_AGE
        for position, entry in enumerate(entries):
            if position < KEEP_ENTRIES and entry.stat().st_mtime > oldest:
                continue
            with contextlib.suppress(BlockingIOError):
                handle = self._lock(entry.name, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    doomed = self._root / f"{entry.name}.tmp"
                    remove_tree(doomed)
                    entry.rename(doomed)
                    remove_tree(doomed)
                    (self._root / f"{entry.name}.lock").unlink()
                finally:
                    os.close(handle)


@contextlib.contextmanager
def scratch_directory(root: Path) -> Iterator[Path]:
    """A directory on disk for one run's throw-away files; what killed runs left is removed.

    Every directory has a lock beside it that is held while the run lasts, so a free lock means
    that the run is over, however it ended.
    """
    runs = root / "runs"
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    lock = runs / f"{name}.lock"
    directory = os.open(runs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Between its creation and its flock, another run could take our file for a leftover.
        fcntl.flock(directory, fcntl.LOCK_EX)
        for left in runs.glob("*.lock"):
            _remove_run(left)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    finally:
        os.close(directory)
    try:
        (runs / name).mkdir(mode=0o700)
        yield runs / name
    finally:
        remove_tree(runs / name)
        lock.unlink(missing_ok=True)
        os.close(handle)


def _remove_run(lock: Path) -> None:
    """Removes a run whose lock nobody holds."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(lock.with_suffix(""))
            lock.unlink()
        finally:
            os.close(handle)


def remove_tree(path: Path) -> None:
    """Deletes a directory whatever the modes in it; links are never followed."""

    def retry(_function: Callable[..., object], name: str, _error: object) -> None:
        parent = os.path.dirname(name)
        if os.path.islink(name) or not os.path.lexists(name):
            return
        os.chmod(parent, stat.S_IRWXU)
        if os.path.isdir(name):
            os.chmod(name, stat.S_IRWXU)
            shutil.rmtree(name)
        else:
            os.unlink(name)

    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onerror=retry)


def _key(layers: Sequence[LayerBlob]) -> str:
    text = "\n".join((FORMAT, *(layer.digest for layer in layers)))
    return hashlib.sha256(text.encode()).hexdigest()


def _link_tree(source: Path, target: Path) -> None:
    """Copies a tree by hard links; the files are never written again, so sharing them is safe."""
    shutil.copytree(
        source,
        target,
        symlinks=True,
        copy_function=lambda a, b: os.link(a, b, follow_symlinks=False),
        dirs_exist_ok=True,
    )
