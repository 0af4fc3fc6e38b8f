"""What is separated from the host, row by row of the README's table, each as an attack."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tools.container.config import User, image_user
from tools.container.containers_for_test import (
    ENV,
    IN_ANOTHER_NAMESPACE,
    children,
    python,
    run_program,
)
from tools.container.namespace import PROC_MASKED, PROC_READ_ONLY
from tools.container.plan import Bind, Spec, make_plan
from tools.container.run import Container
from tools.container.syscall_filter import CALLS, LAST, NEVER, WITH
from tools.container.unused_id import COUNT, FIRST, why_not
from tools.image.cache import Rootfs
from tools.linux import syscalls

# Who can do nothing here; None where the test may not become somebody else.
_MAPPED = Path("/proc/self/uid_map").read_text().split()
STRANGER = 54321 if os.geteuid() == 0 and int(_MAPPED[2]) > 54321 else None
# Makes calls by number, each in a child, and prints the name of each one's error.
CALL = """
import ctypes, errno, json, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    read, write = os.pipe()
    if os.fork() == 0:
        result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        if os.getpid() != 1 and result < 0:
            os.write(write, errno.errorcode[ctypes.get_errno()].encode())
        os._exit(0)
    os.close(write)
    os.wait()
    try:
        return os.read(read, 100).decode()
    finally:
        os.close(read)
"""


@pytest.fixture
def spec(with_python: Rootfs) -> Spec:
    return Spec(rootfs=with_python, user=image_user(with_python, "app"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user of the host can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="isolation-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def number(name: str) -> int:
    return CALLS[name][os.uname().machine == "aarch64"]


def errors(spec: Spec, calls: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the error of each call, "" if there is none."""
    program = f"{CALL}\nprint(json.dumps({{n: call(*a) for n, a in {dict(calls)!r}.items()}}))"
    found: dict[str, str] = json.loads(python(spec, program))
    return found


def test_what_administers_the_machine_or_makes_namespaces_is_refused(spec: Spec) -> None:
    names = [*NEVER, *(name for more in WITH.values() for name in more)]
    calls = {name: (number(name),) + (0,) * 6 for name in names if number(name) >= 0}
    # Without the filter these would succeed or fail with other errors: EFAULT, EINVAL, EBADF.
    assert errors(spec, calls) == dict.fromkeys(calls, "EPERM")


def test_single_arguments_are_refused(spec: Spec) -> None:
    user_namespace, packet, vsock, alg = 0x10000000 | 17, 17, 40, 38
    calls = {
        "clone into a user namespace": (number("clone"), user_namespace, 0, 0, 0, 0),
        "clone3": (number("clone3"), 0, 0),
        "TIOCSTI": (number("ioctl"), 0, 0x5412, 0),
        "TIOCSTI, upper bits": (number("ioctl"), 0, 0x1_0000_5412, 0),
        "other ioctl": (number("ioctl"), 0, 0x5401, 0),
        "ADDR_NO_RANDOMIZE": (number("personality"), 0x40000),
        "get personality": (number("personality"), 0xFFFFFFFF),
        "packet": (number("socket"), packet, 3, 0),
        "vsock": (number("socket"), vsock, 1, 0),
        "alg": (number("socket"), alg, 5, 0),
        "a call to come": (LAST + 1,),
        "x32": (0x40000000 | 39,),
    }
    assert errors(spec, calls) == {
        "clone into a user namespace": "EPERM",
        "clone3": "ENOSYS",
        "TIOCSTI": "EPERM",
        "TIOCSTI, upper bits": "EPERM",
        "other ioctl": "ENOTTY",
        "ADDR_NO_RANDOMIZE": "EPERM",
        "get personality": "",
        "packet": "EPERM",  # by the kernel, which asks for CAP_NET_RAW
        "vsock": "EAFNOSUPPORT",
        "alg": "EAFNOSUPPORT",
        "a call to come": "ENOSYS",
        "x32": "ENOSYS",
    }


INT80 = """
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
anywhere, rwx, anonymous = None, 7, 0x22
address = libc.mmap(anywhere, ctypes.c_size_t(4096), rwx, anonymous, -1, ctypes.c_long(0))
code = bytes.fromhex("53 b8 14 00 00 00 cd 80 5b c3")  # push rbx, getpid of i386, pop rbx
ctypes.memmove(address, code, len(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls of i386 exist on x86_64")
def test_calls_by_another_numbering_do_not_exist(spec: Spec) -> None:
    assert python(spec, INT80) == "-38\n"


# Every way there is to a file that runs as its owner. `made` is the program to plant.
PLANT = (
    CALL
    + """
import shutil, stat
calls = json.loads(sys.argv[1])
os.chdir("/app/data")
folder = os.open(".", os.O_RDONLY)
def tries(name, act):
    shutil.copyfile("/bin/id", name, follow_symlinks=True)
    os.chmod(name, 0o755)
    try:
        print(name, act(name) or "")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
def c(text):
    return ctypes.addressof(kept.setdefault(text, ctypes.create_string_buffer(text.encode())))
def fresh(name, act):
    os.unlink(name)
    return act()
def temporary(name):
    os.unlink(name)
    handle = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o6755)
    os.link(f"/proc/self/fd/{handle}", name, follow_symlinks=True)
kept = {}
creates, setuid, setgid = os.O_CREAT | os.O_RDWR, 0o4755, 0o2755
how = ctypes.create_string_buffer(creates.to_bytes(8, "little") + setuid.to_bytes(16, "little"))
def opened(name, **more):
    os.close(os.open(name, creates, setuid, **more))
regular = stat.S_IFREG | setuid
tries("chmod", lambda n: os.chmod(n, setuid))
tries("setgid", lambda n: os.chmod(n, setgid))
tries("fchmod", lambda n: os.fchmod(os.open(n, os.O_RDONLY), setuid))
tries("fchmodat", lambda n: os.chmod(n, setuid, dir_fd=folder))
tries("fchmodat2", lambda n: call(452, folder, c(n), setuid, 0))
tries("open", lambda n: fresh(n, lambda: opened(n)))
tries("openat", lambda n: fresh(n, lambda: opened(n, dir_fd=folder)))
tries("openat2", lambda n: fresh(n, lambda: call(437, folder, c(n), ctypes.addressof(how), 24)))
tries("mknod", lambda n: fresh(n, lambda: os.mknod(n, regular)))
tries("mknodat", lambda n: fresh(n, lambda: os.mknod(n, regular, dir_fd=folder)))
tries("tmpfile", temporary)
if "creat" in calls:
    tries("oldopen", lambda n: fresh(n, lambda: call(calls["open"], c(n), creates, setuid)))
    tries("creat", lambda n: fresh(n, lambda: call(calls["creat"], c(n), setuid)))
    tries("oldchmod", lambda n: call(calls["chmod"], c(n), setuid))
    tries("oldmknod", lambda n: fresh(n, lambda: call(calls["mknod"], c(n), regular, 0)))
tries("ordinary", lambda n: os.chmod(n, 0o1711))
"""
)


def test_a_file_in_the_data_directory_never_runs_as_its_owner(spec: Spec, folder: Path) -> None:
    calls = {name: number(name) for name in CALLS if number(name) >= 0}
    program = PLANT.replace("sys.argv[1]", repr(json.dumps(calls)))
    found = python(replace(spec, binds=(Bind(folder, "/app/data"),)), program)
    attempts = dict(line.rsplit(" ", 1) for line in found.splitlines())
    assert attempts.pop("ordinary") == ""
    assert attempts.pop("openat2") == "ENOSYS"
    assert set(attempts.values()) == {"EPERM"}
    planted = {path.name: path.stat() for path in folder.iterdir()}
    assert [name for name, info in planted.items() if info.st_mode & 0o6000] == []
    assert stat.S_IMODE(planted["ordinary"].st_mode) == 0o1711
    # Of use afterwards for whoever owns the directory.
    owner = folder.stat()
    assert {(info.st_uid, info.st_gid) for info in planted.values()} == {
        (owner.st_uid, owner.st_gid)
    }
    if STRANGER:
        stranger = subprocess.run(
            [folder / "chmod", "-u"], user=STRANGER, group=STRANGER, extra_groups=[],
            capture_output=True, timeout=30, check=True,
        )  # fmt: skip
        assert stranger.stdout == f"{STRANGER}\n".encode()


def test_roots_container_runs_as_a_user_that_nobody_is(spec: Spec, folder: Path) -> None:
    if STRANGER:
        os.chown(folder, STRANGER, STRANGER)
        (folder / "old").write_text("kept")
        os.chown(folder / "old", STRANGER, STRANGER)
        (folder / "old").chmod(0o600)
    with Container(replace(spec, binds=(Bind(folder, "/app/data"),))) as container:
        script = "cat data/old; echo more >>data/old; echo x >data/new; exec sleep 100"
        read, write = os.pipe()
        container.spawn(
            ["sh", "-c", f"{script} >&-"], env=ENV, workdir="/app", stdin=0, stdout=write, stderr=2
        )
        os.close(write)
        seen = os.read(read, 100)
        while os.read(read, 100):
            pass
        os.close(read)
        found = os.stat(f"/proc/{children(os.getpid())[-1]}").st_uid
    owner = folder.stat()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()} == {
        (owner.st_uid, owner.st_gid)
    }
    assert found == container.host_id
    if STRANGER:
        assert FIRST <= container.host_id < FIRST + COUNT
        assert (container.reduced, seen) == ("", b"kept")
        assert (folder / "old").read_text() == "keptmore\n"
    else:
        assert container.host_id == os.geteuid()


@pytest.mark.skipif(not STRANGER, reason="only the host's root can become somebody else")
def test_a_file_system_without_mapped_ids_is_said_to_be_the_reason(spec: Spec) -> None:
    with Container(replace(spec, binds=(Bind(Path("/proc"), "/opt", True),))) as container:
        assert container.host_id == 0
        assert container.reduced.startswith("a mount cannot be shown to another id: map the owners")


AS_ROOT_OF_A_NAMESPACE = f"""
{IN_ANOTHER_NAMESPACE.replace("os.geteuid(), os.getegid()", "0, 0")}
with Container(Spec(rootfs=rootfs, user=User(1000, 1000), binds=(Bind(folder, "/opt"),))) as c:
    script = "touch /opt/x; chmod 4755 /opt/x; chmod 600 /dev/null /dev/zero /proc/keys"
    done = c.run(["sh", "-c", script], env={{"PATH": "/bin"}}, timeout=30)
    print(c.host_id, c.reduced)
    print(done.stderr.decode())
"""


def test_what_remains_where_no_other_id_can_be_had(rootfs: Rootfs) -> None:
    reason, *errors = run_program(rootfs, AS_ROOT_OF_A_NAMESPACE).split("\n")
    assert reason == "0 this process is root of a user namespace that has no other ids"
    assert "Operation not permitted" in errors[0]
    assert [line.rpartition(": ")[2] for line in errors[1:4]] == ["Read-only file system"] * 3


def test_the_reasons_for_roots_own_id_are_named(
    rootfs: Rootfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(Spec(rootfs=rootfs, user=User(1, 1)))
    (tmp_path / "map").write_text("0 0 1\n")
    assert "no other ids" in why_not(plan, FIRST, uid_map=tmp_path / "map")
    (tmp_path / "map").write_text("0 0 1\n1 1 4294967294\n")
    assert why_not(plan, FIRST, uid_map=tmp_path / "map") == ""
    emulated = replace(plan, emulator=Path("qemu"))
    assert why_not(emulated, FIRST).startswith("an emulator is registered")
    monkeypatch.setattr(syscalls, "kernel_version", lambda: (5, 15))
    assert "cannot mount the image for another id" in why_not(plan, FIRST)


# What a process finds around it.
LOOK = """
import json, os
def lines(path):
    return open(path).read().splitlines()
def mount(line):
    left, _, right = line.partition(" - ")
    words = left.split()
    return words[4], words[5].split(","), words[6:]
shm = os.statvfs("/dev/shm")
limits = {line[:26].strip(): line[47:68].strip() for line in lines("/proc/self/limits")}
def readable(name):
    return os.path.isfile("/proc/" + name) and lines("/proc/" + name)
print(json.dumps({
    "mounts": [mount(line) for line in lines("/proc/self/mountinfo")],
    "devices": sorted(os.listdir("/dev")),
    "shm": shm.f_frsize * shm.f_blocks,
    "groups": os.getgroups(),
    "umask": os.umask(0),
    "sys": os.path.exists("/sys/kernel"),
    "cgroups": sorted({line.split(":")[2] for line in lines("/proc/self/cgroup")}),
    "limits": limits,
    "masked": [name for name in MASKED if readable(name)],
    "writable": [name for name in READ_ONLY if os.access("/proc/" + name, os.W_OK)],
    "environment": sorted(set(os.environ) - {"LC_CTYPE"}),  # the interpreter's own
}))
"""


def test_what_a_process_finds_around_it_is_what_engines_give(spec: Spec) -> None:
    program = LOOK.replace("MASKED", repr(PROC_MASKED)).replace("READ_ONLY", repr(PROC_READ_ONLY))
    found = json.loads(python(spec, program))
    mounts = {point: set(options) for point, options, _ in found["mounts"]}
    assert [peers for *_, peers in found["mounts"] if peers] == []  # no propagation either way
    devices = {point for point in mounts if point.startswith("/dev/") and point.count("/") == 2}
    machines = devices - {"/dev/shm", "/dev/pts"} | {f"/proc/{name}" for name in PROC_MASKED}
    assert [point for point in set(mounts) - machines if "nosuid" not in mounts[point]] == []
    assert [point for point in machines & set(mounts) if "ro" not in mounts[point]] == []
    assert {"nosuid", "nodev", "noexec"} <= mounts["/dev/shm"]
    assert found["devices"] == [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ]  # fmt: skip
    assert found["shm"] == 64 << 20
    assert found["umask"] == 0o022
    assert found["cgroups"] in ([], ["/"])
    assert found["limits"]["Max core file size"] == "0"
    assert int(found["limits"]["Max processes"]) <= spec.max_processes
    assert (found["sys"], found["masked"], found["writable"]) == (False, [], [])
    assert found["environment"] == ["PYTHONHOME"]
    if STRANGER:  # Others keep their groups, which the kernel lets nobody drop without privileges.
        assert found["groups"] == []


def test_without_a_writable_mount_the_bits_are_the_containers_own_affair(spec: Spec) -> None:
    assert (
        python(spec, "import os; os.open('/tmp/x', os.O_CREAT, 0o644); os.chmod('/tmp/x', 0o4755)")
        == ""
    )
