"""Standard streams as a user meets them: files, pipes and a terminal around a command."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.container.containers_for_test import IMPORTS
from tools.image.cache import Rootfs

# Runs a command in a container as `serve` does, with the streams of this program.
RUN = """
from tools.container.serve import run_command
with Container(Spec(rootfs=rootfs, user=User(1000, 1000))) as container:
    env = {"PATH": "/bin"}
    sys.exit(run_command(container, ["sh", "-c", sys.argv[2]], env=env, workdir="/"))
"""
# Starts an image's command, which gets no input, and reads a line from the terminal itself.
LISTEN = """
with Container(Spec(rootfs=rootfs, user=User(1000, 1000))) as container, open(os.devnull) as null:
    script = "test -t 1 && test -t 2 && echo up; cat <&1 >/tmp/typed & cat <&2 >/tmp/typed"
    env = {"PATH": "/bin"}
    command = ["sh", "-c", script]
    container.spawn(command, env=env, stdin=null.fileno(), stdout=1, stderr=2)
    for _ in range(20):  # Long enough for a reader of this terminal to have it.
        typed = container.run(["cat", "/tmp/typed"], env=env, timeout=10).stdout
    print("theirs:", typed, "ours:", input())
"""


def command(rootfs: Rootfs, program: str, script: str = "") -> list[str]:
    return [sys.executable, "-c", IMPORTS + program, str(rootfs.path.parent), script]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(rootfs: Rootfs, script: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(rootfs, RUN, script), env=environment(), input=data, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip


class Terminal:
    """A terminal of 30 by 100 with a program in its foreground."""

    def __init__(self, master: int, pid: int) -> None:
        self.master = master
        self.pid = pid
        self.seen = b""

    def read_until(self, wanted: bytes) -> bytes:
        end = time.monotonic() + 30
        while wanted not in self.seen:
            assert select.select([self.master], [], [], end - time.monotonic())[0], self.seen
            self.seen += os.read(self.master, 4096)
        before, _, self.seen = self.seen.partition(wanted)
        return before

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def terminal(rootfs: Rootfs, program: str, script: str = "") -> Iterator[Terminal]:
    arguments, env = command(rootfs, program, script), environment()
    master, inner = pty.openpty()
    found = Terminal(master, 0)
    found.resize(30, 100)
    found.pid = os.fork()
    if found.pid == 0:
        os.login_tty(inner) if hasattr(os, "login_tty") else _login(inner)
        os.execve(arguments[0], arguments, env)
    try:
        yield found
    finally:
        os.close(inner)
        os.close(master)


def _login(inner: int) -> None:
    os.setsid()
    fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(inner, number)


def test_a_terminal_is_the_containers_own_with_size_colours_and_ctrl_c(rootfs: Rootfs) -> None:
    script = r"""
        trap 'stty size; echo resized' WINCH
        trap 'echo interrupted; exit 7' INT
        test -t 0 && test -t 1 && test -t 2 && stty size
        readlink /proc/self/fd/1
        printf '\033[31mred\033[0m\n'
        read line; echo "got $line"
        while true; do sleep 0.02; done
    """
    with terminal(rootfs, RUN, script) as user:
        before = termios.tcgetattr(user.master)
        assert user.read_until(b"\r\n") == b"30 100"
        assert user.read_until(b"\r\n") == b"/dev/pts/0"
        assert user.read_until(b"\r\n") == b"\x1b[31mred\x1b[0m"
        user.type(b"hello\r")
        assert user.read_until(b"got hello\r\n") == b"hello\r\n"  # the echo
        user.resize(40, 120)
        assert user.read_until(b"resized\r\n").endswith(b"40 120\r\n")
        user.type(b"\x03")
        assert user.read_until(b"interrupted\r\n") == b"^C"
        assert user.wait() == 7
        assert termios.tcgetattr(user.master) == before


def test_what_is_typed_for_others_is_not_read_through_the_output(rootfs: Rootfs) -> None:
    with terminal(rootfs, LISTEN) as user:
        assert user.read_until(b"\r\n") == b"up"
        user.type(b"secret\r")
        assert user.read_until(b"ours: secret\r\n").endswith(b"theirs: b'' ")
        assert user.wait() == 0


def test_a_log_file_of_the_host_can_only_be_appended_to(rootfs: Rootfs, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what others wrote\n" * 3)
    script = """
        : >/dev/stdout; : >/dev/stderr; : >/proc/$$/fd/1
        truncate -s 0 /proc/self/fd/1
        (cat /dev/stdout >/tmp/read) & echo x >&2; kill $!
        cat /tmp/read
        readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2
    """
    with log.open("ab") as stream:
        subprocess.run(
            command(rootfs, RUN, script), env=environment(), stdin=subprocess.DEVNULL,
            stdout=stream, stderr=stream, timeout=60, check=True,
        )  # fmt: skip
    found = log.read_text()
    assert found.startswith("what others wrote\n" * 3)
    # Two pipes, each with a relay of its own: what came by which is in no order.
    assert len([line for line in found.splitlines() if line.startswith("pipe:[")]) == 3


def test_input_and_output_of_any_length_arrive_whole_and_in_order(rootfs: Rootfs) -> None:
    data = os.urandom(3_000_000)
    done = run(rootfs, "cat; echo loud >&2; exit 5", data)
    assert (done.stdout, done.stderr, done.returncode) == (data, b"loud\n", 5)
    # Input that nobody reads is no reason to wait.
    assert run(rootfs, "echo end", data).stdout == b"end\n"


def test_closing_the_output_ends_the_writer_as_a_pipe_does(rootfs: Rootfs) -> None:
    with subprocess.Popen(
        command(rootfs, RUN, "while echo line; do :; done; exit 9"), env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(30) == 128 + 13
