"""Real processes in real namespaces: what they see, what they may, and how they end."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tools.container.cache import Cache, Rootfs
from tools.container.images_for_test import (
    PYTHON,
    PYTHON_ENV,
    Member,
    directory,
    link,
    program_layer,
    python_layer,
    write_image,
)
from tools.container.namespace import explain
from tools.container.plan import Bind, Spec
from tools.container.run import Completed, Container, ContainerError, SpawnError
from tools.container.settings import User, image_user

ENV = {"PATH": "/bin"}
EXTRA = [
    directory("opt", 0o755),
    directory("opt/mine", 0o755, 1000, 1000),
    Member("opt/mine/theirs", b"x", mode=0o644),
    Member("opt/note", b"x", uid=1000, gid=1000),
    Member("opt/plain", b"just text\n", mode=0o755),
    Member("opt/bad", b"#!/no/such/interpreter\n", mode=0o755),
    link("opt/door", "/etc"),
]


# Programs of their own, for what must not happen to the process of the tests.
IMPORTS = """
import os, sys
from pathlib import Path
from tools.container import linux
from tools.container.cache import Rootfs
from tools.container.plan import Bind, Spec
from tools.container.run import Container, ContainerError
from tools.container.settings import User
from tools.container.tree import Tree
folder = Path(sys.argv[1])
rootfs = Rootfs(folder / "rootfs", Tree.from_json((folder / "tree.json").read_text()))
"""
IN_ANOTHER_NAMESPACE = """
uid, gid = os.geteuid(), os.getegid()
linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
"""


def start_program(rootfs: Rootfs, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + program, str(rootfs.path.parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run_program(rootfs: Rootfs, program: str) -> str:
    with start_program(rootfs, program) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    folder = tmp_path_factory.mktemp("image")
    image = write_image(folder / "layout", [program_layer(), EXTRA], {})
    with Cache(folder / "cache").rootfs(image.layers) as found:
        yield found


@pytest.fixture(scope="module")
def with_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    folder = tmp_path_factory.mktemp("python")
    image = write_image(folder / "layout", [program_layer(), EXTRA, python_layer()], {})
    with Cache(folder / "cache").rootfs(image.layers) as found:
        yield found


@pytest.fixture(params=["overlay", "copy"])
def app(rootfs: Rootfs, request: pytest.FixtureRequest) -> Spec:
    return Spec(rootfs=rootfs, user=image_user(rootfs, "app"), overlay=request.param == "overlay")


def sh(spec: Spec, script: str, *, timeout: float = 30, workdir: str = "/") -> Completed:
    with Container(spec) as container:
        return container.run(["sh", "-c", script], env=ENV, workdir=workdir, timeout=timeout)


def output(spec: Spec, script: str) -> str:
    result = sh(spec, script)
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode().strip()


def test_a_process_has_the_images_user_host_name_and_first_pids(app: Spec) -> None:
    assert output(app, "id -u; id -g; id -un; uname -n").split() == [
        "1000", "1000", "app", "container",
    ]  # fmt: skip
    assert output(app, "echo $$") == "2"


def test_environment_and_working_directory_are_exactly_what_was_given(app: Spec) -> None:
    with Container(app) as container:
        result = container.run(
            ["/bin/env"], env={"A": "1 2", "PATH": "/bin"}, workdir="/", timeout=10
        )
        assert sorted(result.stdout.decode().splitlines()) == ["A=1 2", "PATH=/bin"]
        result = container.run(["pwd"], env=ENV, workdir="/app", timeout=10)
        assert result.stdout == b"/app\n"


def test_only_what_the_headers_allow_is_writable(app: Spec) -> None:
    writable = ["/app/data/new", "/tmp/new", "/opt/note", "/opt/mine/new"]
    protected = ["/app/new", "/opt/new", "/etc/passwd", "/opt/mine/theirs", "/new", "/bin/sh"]
    script = f"""
        for path in {" ".join(writable)}; do
            echo hi > $path && echo yes $path
        done
        for path in {" ".join(protected)}; do
            (echo hi >> $path) 2>/dev/null || echo no $path
        done
    """
    assert output(app, script).split() == [
        *(word for path in writable for word in ("yes", path)),
        *(word for path in protected for word in ("no", path)),
    ]


def test_what_the_user_may_not_read_is_covered(app: Spec) -> None:
    result = sh(app, "cat /etc/shadow; ls /root; cat /etc/passwd >/dev/null && echo readable")
    assert result.stdout == b"readable\n"
    assert result.stderr.count(b"Permission denied") == 2


def test_the_unpacked_image_is_unchanged_after_a_run(app: Spec) -> None:
    def digest() -> str:
        state = hashlib.sha256()
        for path in sorted(app.rootfs.path.rglob("*")):
            info = path.lstat()
            state.update(f"{path} {info.st_mode} {info.st_size} {info.st_mtime_ns}\n".encode())
        return state.hexdigest()

    before = digest()
    assert sh(app, "echo hi > /app/data/x; rm -r /opt/mine; touch /tmp/x").exit_code in (0, 1)
    assert digest() == before
    assert output(app, "ls /app/data") == ""


def test_root_of_an_image_may_write_everywhere_and_still_changes_nothing(rootfs: Rootfs) -> None:
    for overlay in (True, False):
        spec = Spec(rootfs=rootfs, user=User(0, 0), overlay=overlay)
        assert output(spec, "id -u; echo x > /new; echo y >> /etc/passwd; rm /bin/ls") == "0"
        assert not (rootfs.path / "new").exists()
        assert (rootfs.path / "bin/ls").exists()


def test_processes_have_no_privileges(app: Spec) -> None:
    status = output(app, "cat /proc/self/status")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    root = Spec(rootfs=app.rootfs, user=User(0, 0))
    assert "CapEff:\t0000000000000000" in output(root, "cat /proc/self/status")


def test_machine_wide_switches_are_out_of_reach(app: Spec) -> None:
    script = "echo 1 > /proc/sys/kernel/core_pattern; cat /proc/1/environ; ls /proc/1/root/"
    result = sh(app, script)
    assert result.stdout == b""
    assert result.exit_code != 0


def test_without_network_there_is_loopback_only(app: Spec) -> None:
    lines = output(app, "cat /proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]
    with_host = Spec(rootfs=app.rootfs, user=app.user, network="host")
    found = output(with_host, "cat /proc/net/dev")
    assert found.count(":") == Path("/proc/net/dev").read_text().count(":")


def test_every_namespace_is_its_own_unless_the_network_is_the_hosts(app: Spec) -> None:
    def inside(spec: Spec) -> dict[str, str]:
        names = ("user", "mnt", "pid", "net", "ipc", "uts")
        script = f"for name in {' '.join(names)}; do readlink /proc/self/ns/$name; done"
        return dict(zip(names, output(spec, script).split(), strict=True))

    mine = {name: os.readlink(f"/proc/self/ns/{name}") for name in inside(app)}
    assert [name for name, value in inside(app).items() if value == mine[name]] == []
    with_host = inside(replace(app, network="host"))
    assert [name for name, value in with_host.items() if value == mine[name]] == ["net"]


def test_mounts_of_a_container_are_seen_by_nobody_else(app: Spec) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with Container(app) as container:
        container.run(["true"], env=ENV, timeout=10)
        assert Path("/proc/self/mountinfo").read_text() == before


def test_what_lies_in_tmp_of_the_host_is_not_seen_and_nothing_is_left_there(app: Spec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "secret").touch()
        place = os.path.dirname(folder)
        script = f"mkdir -p {place} && ls {place}; echo x > {place}/left-by-the-test"
        assert output(replace(app, user=User(0, 0)), script) == ""
        assert not Path(place, "left-by-the-test").exists()


def test_other_processes_of_the_machine_are_invisible(app: Spec) -> None:
    pids = [name for name in output(app, "ls /proc").split() if name.isdigit()]
    assert {int(pid) for pid in pids} <= {1, 2, 3}


def test_devices_work_and_their_directory_is_read_only(app: Spec) -> None:
    script = "echo x > /dev/null; head -c 3 /dev/zero | cat; echo x > /dev/shm/x; touch /dev/new"
    result = sh(app, script)
    assert result.stdout == bytes(3)
    assert b"Read-only file system" in result.stderr


def test_a_host_directory_appears_writable_or_read_only_and_survives(
    app: Spec, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("from the host")
    for read_only in (False, True):
        binds = (Bind(tmp_path, "/app/data", read_only),)
        spec = Spec(rootfs=app.rootfs, user=app.user, binds=binds, overlay=app.overlay)
        result = sh(spec, "cat /app/data/in; echo out > /app/data/out")
        assert result.stdout == b"from the host"
        if read_only:
            assert b"Read-only file system" in result.stderr
        else:
            assert (tmp_path / "out").read_text() == "out\n"
            assert (tmp_path / "out").stat().st_uid == os.geteuid()


def test_a_mount_through_a_link_stays_inside_the_image(app: Spec, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("mine")
    binds = (Bind(tmp_path / "passwd", "/opt/door/passwd"),)
    spec = Spec(rootfs=app.rootfs, user=app.user, binds=binds, overlay=app.overlay)
    assert output(spec, "cat /etc/passwd") == "mine"


def test_scratch_on_disk_holds_what_is_written(rootfs: Rootfs, tmp_path: Path) -> None:
    spec = Spec(rootfs=rootfs, user=image_user(rootfs, "app"), scratch=tmp_path)
    assert output(spec, "echo x > /app/data/big; cat /app/data/big") == "x"
    assert (tmp_path / "upper/app/data/big").read_text() == "x\n"


@pytest.mark.parametrize(
    ("argv", "code", "cause"),
    [
        (["no-such"], 127, "exec: 'no-such': not found in the image's $PATH"),
        (["/no/such"], 127, "exec: '/no/such': no such file in the image"),
        (["/opt/bad"], 127, "or its interpreter is missing"),
        (["/opt/note"], 126, "exec: '/opt/note': permission denied"),
        (["/opt/plain"], 126, "exec format error"),
        (["/app"], 126, "exec: '/app': permission denied"),
        ([], 127, "the image has no command and none was given"),
    ],
)
def test_commands_that_cannot_start_say_why(
    app: Spec, argv: list[str], code: int, cause: str
) -> None:
    with Container(app) as container, pytest.raises(SpawnError) as caught:
        container.run(argv, env=ENV, timeout=10)
    assert caught.value.exit_code == code
    assert cause in str(caught.value)


def test_a_working_directory_the_user_may_not_enter_is_named(app: Spec) -> None:
    with Container(app) as container, pytest.raises(SpawnError) as caught:
        container.run(["pwd"], env=ENV, workdir="/root", timeout=10)
    assert str(caught.value) == "cannot enter the working directory '/root': permission denied"


def test_exit_codes_and_signals_are_passed_on(app: Spec) -> None:
    assert sh(app, "exit 42").exit_code == 42
    assert sh(app, "kill -9 $$").exit_code == 137


def test_a_command_that_never_ends_is_killed_with_its_children(app: Spec) -> None:
    result = sh(app, "sleep 1000 & echo begun; sleep 1000", timeout=0.5)
    assert result.timed_out
    assert result.stdout == b"begun\n"
    assert 0.5 <= result.seconds < 5


def test_a_detached_child_neither_delays_the_result_nor_survives(app: Spec) -> None:
    with Container(app) as container:
        result = container.run(["sh", "-c", "sleep 1000 & echo $!"], env=ENV, timeout=20)
        assert result.seconds < 5
        pid = result.stdout.decode().strip()
        alive = container.run(["sh", "-c", f"kill -0 {pid}"], env=ENV, timeout=10)
        assert alive.exit_code == 0
    mine = subprocess.run(["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null"], capture_output=True,
                          check=False, timeout=30).stdout  # fmt: skip
    assert b"(sleep) Z" not in mine


def test_signals_reach_the_process(app: Spec) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo up; while true; do sleep 0.05; done"
    read_end, write_end = os.pipe()
    with Container(app) as container, open(os.devnull, "rb") as null:
        number = container.spawn(
            ["sh", "-c", script], env=ENV, stdin=null.fileno(), stdout=write_end, stderr=2
        )
        os.close(write_end)
        assert os.read(read_end, 100) == b"up\n"
        assert container.poll(number) is None
        container.signal(number, signal.SIGTERM)
        assert container.wait(number, 10) == 7
        assert os.read(read_end, 100) == b"bye\n"
        container.signal(number, signal.SIGTERM)  # Of no effect, and no error.
    os.close(read_end)


def children(pid: int) -> list[int]:
    """The processes below `pid`, nearest first."""
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for child in found for below in children(child)]


def test_signals_to_the_containers_own_processes_do_not_end_it(app: Spec) -> None:
    before = set(children(os.getpid()))
    with Container(app) as container:
        keeper, first = sorted(set(children(os.getpid())) - before)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                       signal.SIGUSR1, signal.SIGALRM):  # fmt: skip
            os.kill(keeper, number)
            os.kill(first, number)
        time.sleep(0.1)
        assert container.run(["true"], env=ENV, timeout=10).exit_code == 0


def test_a_process_starts_with_every_signal_at_its_default(app: Spec) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        status = output(app, "cat /proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, before)
    for line in ("SigIgn", "SigBlk", "SigCgt"):
        assert f"{line}:\t{0:016x}" in status


def test_commands_of_one_container_share_its_files(app: Spec) -> None:
    with Container(app) as container:
        container.run(["touch", "/tmp/first"], env=ENV, timeout=10)
        assert container.run(["ls", "/tmp"], env=ENV, timeout=10).stdout == b"first\n"


def test_connecting_to_a_closed_port_is_refused_from_inside(app: Spec) -> None:
    with Container(app) as container, pytest.raises(ConnectionRefusedError):
        container.connect(8000)


def test_no_descriptor_of_the_caller_leaks_in(app: Spec, tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(handle, True)
    try:
        assert output(app, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    finally:
        os.close(handle)


def test_when_the_caller_is_killed_everything_ends(app: Spec, tmp_path: Path) -> None:
    marker = tmp_path / "alive"
    program = f"""
spec = Spec(rootfs=rootfs, user=User(1000, 1000), binds=(Bind(Path({str(tmp_path)!r}), "/tmp"),))
with Container(spec) as container:
    print("up", flush=True)
    script = "while true; do touch /tmp/alive; sleep 0.05; done"
    container.run(["sh", "-c", script], env={{"PATH": "/bin"}}, timeout=60)
"""
    caller = start_program(app.rootfs, program)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "up\n"
    while not marker.exists():
        time.sleep(0.01)
    caller.kill()
    caller.communicate()
    time.sleep(0.3)
    marker.unlink()
    time.sleep(0.3)
    assert not marker.exists()


def test_a_container_works_inside_another_user_namespace(rootfs: Rootfs) -> None:
    program = f"""
{IN_ANOTHER_NAMESPACE}
with Container(Spec(rootfs=rootfs, user=User(1000, 1000))) as container:
    print(container.run(["id", "-u"], env={{"PATH": "/bin"}}, timeout=30).stdout.decode().strip())
"""
    assert run_program(rootfs, program) == "1000\n"


def test_a_mount_point_the_image_lacks_needs_overlayfs(rootfs: Rootfs, tmp_path: Path) -> None:
    spec = Spec(
        rootfs=rootfs, user=image_user(rootfs, "app"), binds=(Bind(tmp_path, "/not/there"),)
    )
    assert output(spec, "ls -d /not/there") == "/not/there"
    without = Spec(rootfs=rootfs, user=spec.user, binds=spec.binds, overlay=False)
    with pytest.raises(ContainerError, match="at /not/there: Read-only file system"):
        sh(without, "true")


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


def python(spec: Spec, program: str) -> str:
    env = dict([PYTHON_ENV.split("=")])
    with Container(spec) as container:
        result = container.run([*PYTHON, "-c", program], env=env, timeout=60)
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode()


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
uid, gid = os.geteuid(), os.getegid()
linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"{{uid}} {{uid}} 1")
Path("/proc/self/gid_map").write_text(f"{{gid}} {{gid}} 1")
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


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("other", "0", "seccomp=unconfined"),
    ],
)
def test_a_kernel_that_forbids_user_namespaces_is_explained(
    tmp_path: Path, setting: str, value: str, words: str
) -> None:
    (tmp_path / setting).parent.mkdir(exist_ok=True)
    (tmp_path / setting).write_text(f"{value}\n")
    message = explain(PermissionError(1, "Operation not permitted"), proc=tmp_path)
    assert message.startswith("cannot create a user namespace (Operation not permitted)")
    assert words in message
    assert "Docker or Podman" in message
