"""Real processes in real namespaces: what they see, what they may, and how they end."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tools.container.config import User, image_user
from tools.container.containers_for_test import (
    ENV,
    IN_ANOTHER_NAMESPACE,
    children,
    output,
    run_program,
    sh,
    start_program,
)
from tools.container.plan import Bind, Spec
from tools.container.run import Container, ContainerError, SpawnError
from tools.image.cache import Rootfs


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


@pytest.mark.parametrize("overlay", [True, False])
@pytest.mark.parametrize("read_only", [True, False])
def test_volumes_are_there_and_writable_as_the_headers_say(
    app: Spec, overlay: bool, read_only: bool
) -> None:
    volumes = ("/data", "/var/deep/er", "/opt/mine", "/opt")
    spec = replace(app, volumes=volumes, overlay=overlay, read_only=read_only)
    script = """
        for path in /data/x /var/deep/er/x /opt/mine/x /opt/mine/theirs /opt/x /var/deep/x; do
            (echo hi >> $path) 2>/dev/null && echo $path
        done
        stat -c '%u %a' /data
    """
    assert output(spec, script).splitlines() == [
        "/data/x", "/var/deep/er/x", "/opt/mine/x", "1000 755",
    ]  # fmt: skip
    assert not (app.rootfs.path / "data").exists()
    root = replace(spec, user=User(0, 0))
    assert output(root, "echo x > /data/x; echo x > /opt/mine/x; cat /data/x") == "x"


def test_a_mount_at_a_volume_takes_its_place(app: Spec, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("here")
    bound = replace(app, volumes=("/data",), binds=(Bind(tmp_path, "/data"),))
    assert output(bound, "cat /data/given") == "here"
    empty = replace(app, volumes=("/opt/mine",), tmpfs=("/opt/mine",), read_only=True)
    assert output(empty, "ls /opt/mine; echo x > /opt/mine/x; cat /opt/mine/x") == "x"


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
        names = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
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


def test_signals_to_the_containers_own_processes_do_not_end_it(app: Spec) -> None:
    before = set(children(os.getpid()))
    with Container(app) as container:
        shim, first = sorted(set(children(os.getpid())) - before)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                       signal.SIGUSR1, signal.SIGALRM):  # fmt: skip
            os.kill(shim, number)
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
