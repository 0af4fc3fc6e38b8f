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

from tools.container.config import image_user
from tools.container.containers_for_test import python
from tools.container.plan import Bind, Spec
from tools.container.syscall_filter import CALLS, LAST, NEVER, WITH
from tools.image.cache import Rootfs

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


def test_without_a_writable_mount_the_bits_are_the_containers_own_affair(spec: Spec) -> None:
    assert (
        python(spec, "import os; os.open('/tmp/x', os.O_CREAT, 0o644); os.chmod('/tmp/x', 0o4755)")
        == ""
    )
