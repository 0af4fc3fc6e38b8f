"""Enters a container: new namespaces, the image as root directory, no privileges.

Runs in forked children only (run.py), in two steps because a PID namespace begins with the next
child: `unshare_all` in the first process, `enter_root` in the second, which is PID 1 inside.
Everything here must finish before `pivot_root`, after which Python can import nothing more.

Works as root and as an ordinary user, and inside another user namespace (Bazel's linux-sandbox):
exactly one user and one group are mapped, the caller's, to the image's. Sources:
user_namespaces(7), pid_namespaces(7), mount_namespaces(7), pivot_root(2), overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
from pathlib import Path

from tools.cli import ToolError
from tools.container.emulator import register
from tools.container.plan import Plan
from tools.container.syscall_filter import filter_for
from tools.container.unused_id import Held, attach
from tools.linux import syscalls as linux
from tools.linux.loopback import loopback_up
from tools.linux.namespaces import Ids, unshare_as, why_forbidden
from tools.linux.seccomp import install

# Readable parts of /proc that concern the whole machine. A caller that is root keeps its user id
# (not its capabilities) on the machine, and some of these trust the id alone.
PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
PROC_MASKED = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi",
    "timer_list", "timer_stats",
)  # fmt: skip
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
SHM_BYTES = 64 << 20
PID_MAX_MINIMUM = 301  # RESERVED_PIDS + 1 of the kernel's pid.c


def unshare_all(plan: Plan, stage: Path, outside: Ids | None) -> None:
    """Move the calling, single-threaded process into new namespaces and map its one user.

    `stage` is an empty directory to mount on, `outside` the ids on the host if not the caller's.
    """
    if plan.emulator is not None:
        # Registering is for user 0 of a user namespace, and counts in all those inside it.
        _unshare(linux.CLONE_NEWNS, uid=0, gid=0)
        try:
            register(plan.spec.architecture, plan.emulator, stage)
        except OSError as error:
            hint = "; load the kernel's module first: modprobe binfmt_misc"
            raise ToolError(
                f"cannot register the emulator {plan.emulator}: {error}"
                + (hint if error.errno == errno.ENODEV else "")
            ) from error
    _unshare_container(plan, linux.CLONE_NEWPID, outside)


def _unshare_container(plan: Plan, further: int = 0, outside: Ids | None = None) -> None:
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
    if plan.spec.network != "host":
        flags |= linux.CLONE_NEWNET
    _unshare(flags | further, uid=plan.spec.user.uid, gid=plan.spec.user.gid, outside=outside)


def _unshare(flags: int, *, uid: int, gid: int, outside: Ids | None = None) -> None:
    try:
        unshare_as(uid, gid, flags, outside=outside)
    except OSError as error:
        raise ToolError(_explanation(error)) from error


def _explanation(error: OSError) -> str:
    return (
        f"cannot create a user namespace ({error.strerror}): {why_forbidden(error)}. Or load the "
        "image into Docker or Podman and run it there; a structure test does so with "
        'driver = "docker".'
    )


def enter_root(plan: Plan, stage: Path, held: Held | None) -> None:
    """Build the container's file system on `stage` and make it the root directory.

    `stage` is an empty directory; what is mounted there is seen by this process only. With `held`,
    the sources of mounts as unused_id.py makes them, it is the working directory already.
    """
    size = f"size={plan.spec.write_bytes},mode=0755"
    try:
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        if held is None:
            linux.mount("tmpfs", str(stage), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, size)
            os.chdir(stage)
    except OSError as error:
        # AppArmor lets anybody make the namespace and then forbids everything in it.
        raise ToolError(_explanation(error)) from error
    for name in ("lower", "root", "covers", "copies"):
        os.mkdir(name)
    attach(str(plan.spec.rootfs.path), "lower", held)
    os.mkdir("covers/dir", 0)
    os.close(os.open("covers/file", os.O_CREAT | os.O_WRONLY, 0))
    upper = "."
    if plan.spec.scratch is not None:
        # Relative names keep colons and commas of the caller's paths out of overlayfs's options.
        os.mkdir("scratch")
        attach(str(plan.spec.scratch), "scratch", held)
        upper = "scratch"
    layered = (plan.spec.overlay and _mount_overlay(upper)) or _mount_copy(plan, upper)
    root = os.path.join(os.getcwd(), "root")
    for path in plan.volumes:
        _point(root, path)
    _mount_access(plan, root, layered=layered)
    _mount_proc(root + _point(root, plan.directories["proc"]), plan.spec.max_processes)
    _mount_dev(root + _point(root, plan.directories["dev"]))
    if "tmp" in plan.directories:
        _mount_tmpfs(root, plan.directories["tmp"], size=plan.spec.write_bytes)
    _mount_texts(plan, root)
    for path in plan.tmpfs:
        _mount_tmpfs(root, path, size=plan.spec.write_bytes)
    for source, path, read_only, is_dir in plan.binds:
        try:
            target = root + _point(root, path, is_dir=is_dir)
        except OSError as error:
            raise ToolError(f"cannot mount {source} at {path}: {error.strerror}") from error
        attach(source, target, held)
        linux.restrict(target, read_only=read_only)
        if read_only:
            linux.read_only_below(target)
    with contextlib.suppress(OSError):
        _point(root, plan.directories["workdir"])
    if not plan.writable_root:
        linux.restrict(root, read_only=True)
    os.chdir(root)
    linux.pivot_root_here()


def configure(plan: Plan) -> None:
    """Name the host, bring up loopback, set limits; then give up every other privilege."""
    if plan.capabilities:
        # With CAP_SYS_ADMIN the masks of /proc could be unmounted. A mount namespace that belongs
        # to another user namespace holds them fast (mount_namespaces(7), "locked" mounts).
        _unshare_container(plan)
    linux.set_hostname(plan.spec.hostname)
    if plan.spec.network == "none":
        loopback_up()
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = plan.spec.max_processes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.keep_capabilities(plan.capabilities)
    install(filter_for(plan))
    # The processes inside have the same user id as PID 1; without this they could trace it.
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _mount_overlay(upper: str) -> bool:
    """Mount the image with a writable layer above; return False when the kernel cannot."""
    for name in ("upper", "work"):
        os.mkdir(f"{upper}/{name}")
    # The root directory's own mode is the upper's; mkdir's would be cut by the umask.
    os.chmod(f"{upper}/upper", os.stat("lower").st_mode & 0o7777)
    options = f"lowerdir=lower,upperdir={upper}/upper,workdir={upper}/work,userxattr"
    try:
        linux.mount("overlay", "root", "overlay", linux.MS_NOSUID | linux.MS_NODEV, options)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _mount_copy(plan: Plan, upper: str) -> bool:
    """Mount the image without overlayfs: read-only, or as a copy if something in it changes.

    Return whether it is a copy.
    """
    copied = plan.writable_root or bool(plan.volumes)
    if copied:
        shutil.copytree("lower", f"{upper}/copy", symlinks=True)
        linux.bind(f"{upper}/copy", "root", read_only=False)
    else:
        linux.bind("lower", "root", read_only=True)
    return copied


def _mount_access(plan: Plan, root: str, *, layered: bool) -> None:
    for number, access in enumerate(plan.access):
        target = root + access.path
        if access.mode == "hidden":
            cover = "covers/dir" if access.is_dir else "covers/file"
            linux.bind(cover, target, read_only=True)
        elif access.mode == "ro" or layered:
            # A mount of its own keeps its own flag when the root becomes read-only.
            linux.bind(target, target, read_only=access.mode == "ro")
        else:
            copy = f"copies/{number}"
            if access.is_dir:
                shutil.copytree(target, copy, symlinks=True)
            else:
                shutil.copy2(target, copy)
            linux.bind(copy, target, read_only=False)


def _mount_tmpfs(root: str, path: str, *, size: int) -> None:
    flags = linux.MS_NOSUID | linux.MS_NODEV
    try:
        target = root + _point(root, path)
        linux.mount("tmpfs", target, "tmpfs", flags, f"mode=1777,size={size}")
    except OSError as error:
        raise ToolError(f"cannot mount a tmpfs at {path}: {error.strerror}") from error


def _mount_proc(target: str, max_processes: int) -> None:
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    try:
        linux.mount("proc", target, "proc", flags)
    except OSError as error:
        raise ToolError(
            f"cannot mount /proc ({error.strerror}): a container engine around this process covers "
            "parts of its own /proc; start that engine's container with "
            "--security-opt systempaths=unconfined (Docker) or unmask=ALL (Podman)"
        ) from error
    # RLIMIT_NPROC does not count for root of the machine; this setting of the PID namespace does.
    # Before Linux 6.14 it was the whole machine's, and must not be touched.
    if linux.kernel_version() >= (6, 14):
        with contextlib.suppress(OSError):
            Path(target, "sys/kernel/pid_max").write_text(str(max(max_processes, PID_MAX_MINIMUM)))
    for name in PROC_READ_ONLY:
        path = f"{target}/{name}"
        if os.path.exists(path):
            linux.bind(path, path, read_only=True, recursive=True)
    for name in PROC_MASKED:
        path = f"{target}/{name}"
        if os.path.exists(path):
            cover = "covers/dir" if os.path.isdir(path) else "/dev/null"
            linux.mount(cover, path, None, linux.MS_BIND)
            linux.restrict(path, read_only=True, devices=True)


def _mount_dev(target: str) -> None:
    linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID, "size=65536,mode=0755")
    for name in DEVICES:
        path = f"{target}/{name}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        linux.mount(f"/dev/{name}", path, None, linux.MS_BIND)
        # They are the machine's own files, whose mode root could change. Devices can be written.
        linux.restrict(path, read_only=True, devices=True)
    for link, to in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        os.symlink(to, f"{target}/{link}")
    os.mkdir(f"{target}/shm")
    shm = f"size={SHM_BYTES},mode=1777"
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("tmpfs", f"{target}/shm", "tmpfs", flags, shm)
    os.mkdir(f"{target}/pts")
    linux.mount("devpts", f"{target}/pts", "devpts", flags & ~linux.MS_NODEV, "ptmxmode=0666")
    linux.restrict(target, read_only=True, devices=True)


def _mount_texts(plan: Plan, root: str) -> None:
    os.mkdir("texts")
    for number, (path, text) in enumerate(plan.texts):
        source = f"texts/{number}"
        Path(source).write_text(text)
        os.chmod(source, 0o644)
        try:
            target = root + _point(root, path, is_dir=False)
        except OSError:
            # No overlay and no such file in the image: it starts without, as it was built.
            continue
        linux.bind(source, target, read_only=True)


def _point(root: str, path: str, *, is_dir: bool = True) -> str:
    """Create the mount point `path`, which holds no links, if it is missing; return it."""
    where = root
    parts = [part for part in path.split("/") if part]
    for position, part in enumerate(parts):
        where = f"{where}/{part}"
        if os.path.lexists(where):
            continue
        if is_dir or position < len(parts) - 1:
            os.mkdir(where, 0o755)
        else:
            os.close(os.open(where, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    return path
