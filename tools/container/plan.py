"""Decides, before anything is mounted, what a container's file system will look like.

Only one user id can be mapped without root, so on disk every file seems to belong to the image's
user. The plan repairs that: the root is read-only, and only what the layers' headers let the user
write is writable; what they do not let the user read is covered. What it cannot express: a file
the user may read but not execute although its owner may, and who *owns* a file (stat shows the
image's user everywhere; tests of owners look at the headers, not at the files).

All paths in a plan are free of symbolic links: they were resolved in the tree, so nothing on the
host can be reached through a link of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError
from tools.container.config import HOSTNAME, User, may
from tools.container.emulator import emulator_for
from tools.image.cache import Rootfs
from tools.image.tree import Tree, TreeError
from tools.linux.capabilities import NUMBERS, granted

MAX_ACCESS = 2000  # Mounts; the kernel's limit per namespace is 100,000 and each costs time.


@dataclass(frozen=True)
class Bind:
    """A host file or directory that appears at `target` in the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Access:
    """A path whose writability differs from its parent's, or which is `hidden`."""

    path: str
    mode: str  # "rw", "ro" or "hidden"
    is_dir: bool


@dataclass(frozen=True)
class Spec:
    """What the caller wants; only `rootfs` and `user` have to be given.

    user: any numbers will do, also ones the image does not know (`User(12345, 0)`).
    network: "none" (loopback only), "web" (connections to `out_ports` of public addresses, and
        names), or "host".
    out_ports: TCP ports that can be reached on public addresses, if the network is "web".
    binds: files and directories of the host.
    volumes: directories that an image declares as volumes; those it lacks are made, as the user's.
    tmpfs: directories of the container that start empty, are writable and stay in memory.
    scratch: a directory on disk for what the container writes; without it that stays in memory.
    read_only: nothing but `binds`, `tmpfs` and /dev/shm can be written, whatever the headers say,
        and those of the `volumes` that the user may write.
    capabilities: names, kept by every process whoever its user is (capabilities.py).
    privileged: every capability that can be given.
    tty: what `Container.run` starts gets a terminal; its stderr is then part of its stdout.
    write_bytes: bytes, at most, of what stays in memory because there is no `scratch`.
    memory_bytes: of all processes together where a cgroup can be had, else address space of each.
    max_processes: processes and threads, at most; as root without a cgroup at least 301.
    architecture: the image's; "" for this machine's.
    emulator: a static qemu-user for programs of that architecture (emulator.py).
    overlay: False copies what is writable instead, as on kernels before 5.11.
    """

    rootfs: Rootfs
    user: User
    network: str = "none"
    out_ports: tuple[int, ...] = (80, 443)
    binds: tuple[Bind, ...] = ()
    volumes: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    workdir: str = "/"
    hostname: str = HOSTNAME
    scratch: Path | None = None
    read_only: bool = False
    capabilities: tuple[str, ...] = ()
    privileged: bool = False
    tty: bool = False
    write_bytes: int = 1 << 30
    memory_bytes: int | None = None
    max_processes: int = 4096
    architecture: str = ""
    emulator: Path | None = None
    overlay: bool = True


@dataclass(frozen=True)
class Plan:
    """A spec with every path resolved; all that is left is to mount."""

    spec: Spec
    writable_root: bool
    volumes: tuple[str, ...]  # Directories to make, before `access` applies.
    access: tuple[Access, ...]
    binds: tuple[tuple[str, str, bool, bool], ...]  # source, target, read-only, is a directory
    tmpfs: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]  # path, content
    capabilities: frozenset[int]
    emulator: Path | None
    directories: dict[str, str]  # of "proc", "dev", "workdir" and, if the image has none, "tmp"

    @property
    def leaves_files(self) -> bool:
        """Whether files that the container makes can be met by other users of the host."""
        return any(not read_only for _, _, read_only, _ in self.binds)


def make_plan(spec: Spec) -> Plan:
    """Resolve a spec. Raise ToolError for impossible paths and images."""
    tree = spec.rootfs.tree
    try:
        directories = {
            "proc": tree.realpath("/proc"),
            "dev": tree.realpath("/dev"),
            "workdir": tree.realpath(spec.workdir),
        }
        if tree.lookup("/tmp") is None and not spec.read_only:  # noqa: S108 - the image's own
            directories["tmp"] = "/tmp"  # noqa: S108 - the image's own
        binds = tuple(_bind(tree, bind) for bind in spec.binds)
        tmpfs = tuple(_target(tree, path) for path in spec.tmpfs)
        volumes = tuple(_volume(tree, path) for path in spec.volumes)
        texts = tuple((tree.realpath(path), text) for path, text in _texts(spec))
    except TreeError as error:
        raise ToolError(f"the image's file system is unusable: {error}") from error
    kept = granted(spec.capabilities, privileged=spec.privileged, network=spec.network)
    if kept and spec.network == "web":
        raise ToolError('capabilities cannot be given in the network "web"; use "none"')
    emulator = emulator_for(spec.architecture, spec.emulator)
    powerful = spec.user.uid == 0 or NUMBERS["DAC_OVERRIDE"] in kept
    access = () if powerful else tuple(access_of(tree, spec.user))
    if NUMBERS["DAC_READ_SEARCH"] in kept:
        access = tuple(item for item in access if item.mode != "hidden")
    access = _with_volumes(tree, spec, access, volumes, powerful=powerful)
    if len(access) > MAX_ACCESS:
        raise ToolError(
            f"the image has {len(access)} paths whose owner differs from their parent's, at most "
            f"{MAX_ACCESS} can be kept apart; give {access[MAX_ACCESS].path!r} and its like the "
            "owner and mode of their directory"
        )
    root = tree.lookup("/")
    return Plan(
        spec=spec,
        writable_root=not spec.read_only
        and (
            powerful
            or (
                root is not None
                and may(root.mode, owner=(root.uid, root.gid), user=spec.user, bit=2)
            )
        ),
        volumes=tuple(path for path in volumes if tree.lookup(path) is None),
        access=access,
        binds=binds,
        tmpfs=tmpfs,
        texts=texts,
        capabilities=kept,
        emulator=emulator,
        directories=directories,
    )


def access_of(tree: Tree, user: User) -> Iterator[Access]:
    """Yield where the rights of `user`, who is not root, change; outermost first."""
    hidden: str | None = None
    states: list[tuple[str, bool]] = []  # directories above the current path: prefix, writable
    for path, entry in tree.entries():
        prefix = path if path.endswith("/") else path + "/"
        if hidden is not None and path.startswith(hidden):
            continue
        hidden = None
        while states and not path.startswith(states[-1][0]):
            states.pop()
        owner = (entry.uid, entry.gid)
        above = states[-1][1] if states else None
        if entry.kind == "dir":
            if not may(entry.mode, owner=owner, user=user, bit=1):
                hidden = prefix
                yield Access(path, "hidden", is_dir=True)
                continue
            writable = may(entry.mode, owner=owner, user=user, bit=2)
            if above is not None and writable != above:
                yield Access(path, "rw" if writable else "ro", is_dir=True)
            states.append((prefix, writable))
        elif entry.kind == "file":
            if not may(entry.mode, owner=owner, user=user, bit=4):
                yield Access(path, "hidden", is_dir=False)
                continue
            writable = may(entry.mode, owner=owner, user=user, bit=2)
            # A file of the user's own that its mode protects needs no mount: the kernel sees
            # the same owner and the same mode.
            if writable != above and not (entry.uid == user.uid and not writable):
                yield Access(path, "rw" if writable else "ro", is_dir=False)


def _with_volumes(
    tree: Tree, spec: Spec, access: tuple[Access, ...], volumes: tuple[str, ...], *, powerful: bool
) -> tuple[Access, ...]:
    """Return `access` with the volumes as engines mount them.

    A new one belongs to the user. One that the image has keeps its owners and modes, and is not
    part of a read-only root.
    """
    items = {item.path: item for item in access}
    if spec.read_only:
        items = {
            path: item
            for path, item in items.items()
            if item.mode == "hidden" or any(_contains(volume, path) for volume in volumes)
        }
    hidden = [path for path, item in items.items() if item.mode == "hidden"]
    for path in volumes:
        entry = tree.lookup(path)
        writable = (
            entry is None
            or powerful
            or may(entry.mode, owner=(entry.uid, entry.gid), user=spec.user, bit=2)
        )
        needed = spec.read_only or entry is None
        if needed and writable and not any(_contains(cover, path) for cover in hidden):
            items[path] = Access(path, "rw", is_dir=True)
    # Outermost first, as they are mounted.
    return tuple(sorted(items.values(), key=lambda item: item.path.split("/")))


def _contains(directory: str, path: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _volume(tree: Tree, path: str) -> str:
    target = _target(tree, path)
    entry = tree.lookup(target)
    if target == "/" or (entry is not None and entry.kind != "dir"):
        raise ToolError(f"the image's volume {path!r} cannot be mounted: it must be a directory")
    return target


def _target(tree: Tree, path: str) -> str:
    if not path.startswith("/"):
        raise ToolError(f"the mount target {path!r} is not absolute")
    return tree.realpath(path)


def _bind(tree: Tree, bind: Bind) -> tuple[str, str, bool, bool]:
    target = _target(tree, bind.target)
    if not bind.source.exists():
        raise ToolError(f"the mount source {str(bind.source)!r} does not exist; create it first")
    source = str(bind.source.resolve())
    return source, target, bind.read_only, bind.source.is_dir()


def _texts(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield path and content of the files that every engine writes for a container."""
    yield "/etc/hostname", f"{spec.hostname}\n"
    yield "/etc/hosts", f"127.0.0.1\tlocalhost {spec.hostname}\n::1\tlocalhost\n"
    if spec.network == "none":
        yield "/etc/resolv.conf", "# no network\n"
        return
    try:
        text = Path("/etc/resolv.conf").read_text()
    except OSError:
        text = ""
    if spec.network == "web":  # The relay asks the host's name servers.
        others = (line for line in text.splitlines() if not line.startswith("nameserver"))
        text = "\n".join(["nameserver 127.0.0.1", *others, ""])
    yield "/etc/resolv.conf", text
