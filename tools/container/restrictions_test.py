"""What a caller can ask for: read-only roots, any user, privileges, limits; and who forbids it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.container.config import User, image_user
from tools.container.containers_for_test import (
    IN_ANOTHER_NAMESPACE,
    output,
    python,
    run_program,
    sh,
)
from tools.container.plan import Bind, Spec
from tools.image.cache import Cache, Rootfs
from tools.image.images_for_test import directory, program_layer, write_image


def test_nothing_but_mounts_is_writable_when_the_root_is_read_only(
    app: Spec, tmp_path: Path
) -> None:
    binds = (Bind(tmp_path, "/app/data"),)
    spec = replace(app, read_only=True, tmpfs=("/opt/mine",), binds=binds)
    for user in (app.user, User(0, 0)):
        result = sh(
            replace(spec, user=user),
            "touch /new /tmp/new /opt/note; touch /app/data/x /opt/mine/x /dev/shm/x && echo yes",
        )
        assert result.stdout == b"yes\n"
        assert result.stderr.count(b"Read-only file system") == 3
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize("user", ["12345:0", "12345", "54321:54321"])
def test_an_arbitrary_user_has_the_rights_of_others(app: Spec, user: str) -> None:
    spec = replace(app, user=image_user(app.rootfs, user))
    result = sh(spec, "id -u; id -g; touch /tmp/x && echo yes; touch /app/data/x; cat /etc/shadow")
    uid, _, gid = user.partition(":")
    assert result.stdout.decode().split() == [uid, gid or "0", "yes"]
    assert result.stderr.count(b"Read-only file system") == 1
    assert result.stderr.count(b"Permission denied") == 1


def test_group_root_lets_an_arbitrary_user_write(tmp_path: Path) -> None:
    shared = [directory("data", 0o775, 1000, 0), directory("closed", 0o755, 1000, 0)]
    image = write_image(tmp_path / "layout", [program_layer(("sh", "touch")), shared], {})
    with Cache(tmp_path / "cache").rootfs(image.layers) as rootfs:
        spec = Spec(rootfs=rootfs, user=image_user(rootfs, "12345:0"), read_only=False)
        result = sh(spec, "touch /data/x && echo yes; touch /closed/x || echo no")
    assert result.stdout == b"yes\nno\n"


def test_capabilities_are_kept_whoever_the_user_is_and_no_others(app: Spec) -> None:
    for user in (app.user, User(0, 0)):
        spec = replace(app, user=user, capabilities=("SYS_CHROOT", "cap_net_raw"))
        status = output(spec, "cat /proc/self/status")
        wanted = f"{1 << 18 | 1 << 13:016x}"
        for line in ("CapEff", "CapPrm", "CapBnd"):
            assert f"{line}:\t{wanted}" in status
        assert "NoNewPrivs:\t1" in status


# What a process with every capability could try: to see what is masked, to write what is not its.


ESCAPE = """
import ctypes, os
libc = ctypes.CDLL(None)
print("mounted", libc.mount(b"none", b"/opt", b"tmpfs", 0, None))
for path in (b"/proc/sys", b"/proc/sysrq-trigger", b"/proc/kcore"):
    print(path.decode(), libc.umount2(path, 2), libc.mount(None, path, None, 0x1020, None))
try:
    before = open("/proc/sys/kernel/core_pattern").read()
    open("/proc/sys/kernel/core_pattern", "w").write(before)
except OSError as error:
    print(error.strerror)
"""
PRIVILEGED_PORT = """
import os, socket
try:
    socket.create_server(("127.0.0.1", 80))
    print("listens")
except OSError as error:
    print(os.strerror(error.errno))
"""


def test_a_capability_works_where_it_is_missed_otherwise(app: Spec, with_python: Rootfs) -> None:
    assert sh(app, "cat /etc/shadow; touch /bin/new").stderr.count(b"\n") == 2
    spec = replace(app, capabilities=("DAC_OVERRIDE",))
    assert output(spec, "cat /etc/shadow; touch /bin/new") == "root:*:0"
    spec = replace(app, rootfs=with_python)
    assert python(spec, PRIVILEGED_PORT) == "Permission denied\n"
    spec = replace(spec, capabilities=("NET_BIND_SERVICE",))
    assert python(spec, PRIVILEGED_PORT) == "listens\n"


def test_privileges_end_at_the_container(app: Spec, with_python: Rootfs) -> None:
    spec = replace(app, rootfs=with_python)
    masks = "/proc/sys -1 -1 /proc/sysrq-trigger -1 -1 /proc/kcore -1 -1"
    for privileged, mounted in ((False, "-1"), (True, "0")):
        found = python(replace(spec, privileged=privileged), ESCAPE).strip()
        assert " ".join(found.split("\n")) == f"mounted {mounted} {masks} Read-only file system"


def test_a_terminal_is_given_when_asked_for(app: Spec) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && echo terminal $TERM; echo x >&2; exit 3"
    assert sh(app, script).stdout == b""
    result = sh(replace(app, tty=True), script)
    assert (result.stdout, result.stderr, result.exit_code) == (
        b"terminal xterm\r\nx\r\n", b"", 3,
    )  # fmt: skip
    assert output(replace(app, tty=True), "stty size < /dev/tty; echo > /dev/tty") == "24 80"
    assert len(sh(replace(app, tty=True), "head -c 300000 /dev/zero").stdout) == 300_000


def test_a_limit_on_memory_ends_what_exceeds_it(app: Spec) -> None:
    spec = replace(app, memory_bytes=256 << 20)
    script = "head -c 1000000 /dev/zero | cat >/dev/null && echo fits; tail /dev/zero"
    result = sh(spec, script)
    assert result.stdout == b"fits\n"
    assert result.exit_code != 0
    assert not result.timed_out


def test_the_mounts_below_a_read_only_mount_are_read_only_too(app: Spec, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    program = f"""
{IN_ANOTHER_NAMESPACE}
linux.mount("tmpfs", {str(tmp_path / "below")!r}, "tmpfs")
binds = (Bind(Path({str(tmp_path)!r}), "/opt", True),)
spec = Spec(rootfs=rootfs, user=User(1000, 1000), binds=binds)
with Container(spec) as container:
    done = container.run(["sh", "-c", "touch /opt/below/x"], env={{"PATH": "/bin"}}, timeout=30)
    print(done.stderr.decode().strip())
"""
    assert "Read-only file system" in run_program(app.rootfs, program)


# A seccomp filter that answers one system call with an error (seccomp(2), struct sock_filter).
FORBID = """
import ctypes, errno, platform, struct
def forbid(numbers, error):
    number = numbers[platform.machine()]
    code = struct.pack("=HBBI", 0x20, 0, 0, 0)  # load the call's number
    code += struct.pack("=HBBI", 0x15, 0, 1, number)  # another one: skip the next
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | error)  # SECCOMP_RET_ERRNO
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # SECCOMP_RET_ALLOW
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", 4, ctypes.addressof(buffer))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
"""
START = """
try:
    with Container(Spec(rootfs=rootfs, user=User(1000, 1000))):
        print("started")
except ContainerError as error:
    print(error)
"""


def test_a_namespace_that_may_not_hold_others_is_explained(rootfs: Rootfs) -> None:
    # The limit is each user namespace's own; it can be set in a /proc of a PID namespace of one's
    # own only, because a sandbox around this test shows it read-only.
    program = f"""
unshare_as(os.geteuid(), os.getegid(), linux.CLONE_NEWNS | linux.CLONE_NEWPID)
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
Path("/proc/sys/user/max_user_namespaces").write_text("0")
{START}
"""
    assert run_program(rootfs, program) == (
        "cannot create a user namespace (unshare: No space left on device): "
        "user.max_user_namespaces is 0; an administrator can run "
        "`sysctl user.max_user_namespaces=10000`. Or load the image into Docker or Podman and run "
        'it there; a structure test does so with driver = "docker".\n'
    )


@pytest.mark.parametrize(
    ("numbers", "cause"),
    [
        ({"x86_64": 272, "aarch64": 97}, "unshare"),
        ({"x86_64": 165, "aarch64": 40}, "change the mount at /"),  # As AppArmor does it.
    ],
)
def test_a_filter_that_forbids_namespaces_is_explained(
    rootfs: Rootfs, numbers: dict[str, int], cause: str
) -> None:
    found = run_program(rootfs, f"{FORBID}\nforbid({numbers}, errno.EPERM)\n{START}")
    assert found.startswith(f"cannot create a user namespace ({cause}: Operation not permitted): ")
    assert "it is a seccomp filter" in found
    assert 'driver = "docker"' in found
