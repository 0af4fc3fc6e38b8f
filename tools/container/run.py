"""Start processes in a container made of an unpacked image, with no engine and no root.

    with Container(Spec(rootfs=rootfs, user=user)) as container:
        result = container.run(["python3", "-V"], env=env, timeout=60)

The caller forks a shim (shim.py), which enters the namespaces and forks PID 1 (init.py); PID
1 starts what it is asked to. Leaving the context kills every process of the container, also those
that detached, and so does the death of the caller. Nothing the container writes reaches the rootfs.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.cli import ToolError
from tools.container import init, shim
from tools.container.cgroup import Group, make_group
from tools.container.plan import Spec, make_plan
from tools.container.relay import Relay
from tools.container.stdio import Streams, owned_pipe

START_SECONDS = 60.0
MAX_LISTENERS = 64
MAX_OUTPUT = 64 << 20  # Bytes per stream; a process that writes more is killed.
TERMINAL = {"on": [0, 1, 2], "rows": 24, "columns": 80, "raw": False}
EXIT_NOT_FOUND = 127
EXIT_NOT_EXECUTABLE = 126


class ContainerError(ToolError):
    """The container could not be started, or it ended unexpectedly."""


class SpawnError(ContainerError):
    """A command could not be started. `exit_code` is 127 or 126, as a shell and engines use."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Completed:
    """A process that ended. `exit_code` is 128 + N when signal N ended it. Seconds."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    seconds: float
    timed_out: bool = False
    overflowed: bool = False


class Container:
    """One container. Use it as a context manager, from one thread.

    What arrives at the listening sockets of `publish` is connected to a port inside; the container
    closes them.
    """

    def __init__(self, spec: Spec, *, publish: Mapping[int, Sequence[socket.socket]] = {}) -> None:
        self._plan = make_plan(spec)
        self._publish = publish
        self._relay: Relay | None = None
        self.host_id = -1  # The container's one user, as the host sees it.
        self.reduced = ""  # Why that is root, if it is.
        self._next = 0
        self._exits: dict[int, int] = {}
        self._replies: dict[int, tuple[dict[str, Any], list[int]]] = {}
        self._streams: dict[int, Streams] = {}
        self._shim = -1
        self._stage: tempfile.TemporaryDirectory[str] | None = None
        self._control: socket.socket | None = None
        self._group: Group | None = None

    def __enter__(self) -> Self:
        """Raise ContainerError, with cause and remedy, when the kernel refuses."""
        self._stage = tempfile.TemporaryDirectory(prefix="container-")
        spec = self._plan.spec
        self._group = make_group(memory_bytes=spec.memory_bytes, max_processes=spec.max_processes)
        stage = Path(self._stage.name)
        self._shim, self._control, gate = shim.start(self._plan, stage, self._group)
        self._relay = Relay(gate)
        try:
            self._expect_ready()
            self._open_network(gate)
        except BaseException:
            self.close()
            raise
        return self

    def _expect_ready(self) -> None:
        reply = self._reply(0, START_SECONDS)[0]
        if reply["event"] != "ready":
            raise ContainerError(str(reply["message"]))
        self.host_id, self.reduced = reply["host_id"], reply["reduced"]

    def _open_network(self, gate: socket.socket) -> None:
        assert self._relay is not None  # noqa: S101 - for the type checker
        web = self._plan.spec.network == "web"
        if web:
            handles = socket.recv_fds(gate, 1, MAX_LISTENERS)[1]
            self._relay.let_out(*(socket.socket(fileno=handle) for handle in handles))
        for port, listeners in self._publish.items():
            self._relay.publish(listeners, port)
        if web or self._publish:
            self._relay.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what still runs and removes what was mounted and created."""
        for _, handles in self._replies.values():
            for handle in handles:
                os.close(handle)
        self._replies.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._shim > 0:
            shim.end(self._shim)
            self._shim = -1
        while self._streams:
            self._streams.popitem()[1].finish(timeout=START_SECONDS)
        if self._relay is not None:
            self._relay.stop()
            self._relay = None
        if self._group is not None:
            self._group.remove()
            self._group = None
        if self._stage is not None:
            self._stage.cleanup()
            self._stage = None

    def fileno(self) -> int:
        """Return a descriptor that is readable when something happened; call `poll` then."""
        return self._socket().fileno()

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        workdir: str = "/",
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> int:
        """Start a process whose streams are carried to the given descriptors; return its number.

        Once `poll` or `wait` return an exit code, everything that it wrote has arrived. Raise
        SpawnError when there is no such command or it cannot be executed.
        """
        streams = Streams((stdin, stdout, stderr), owner=self.host_id)
        try:
            number, back = self._spawn(argv, env, workdir, tuple(streams.pipes), streams.terminal)
        except BaseException:
            streams.finish()
            raise
        streams.begin(*back)
        if number in self._exits:
            streams.finish()
        else:
            self._streams[number] = streams
        return number

    def resize(self, number: int) -> bool:
        """Fit a process's terminal to the caller's; return False if it has none."""
        return number in self._streams and self._streams[number].resize()

    def _spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        workdir: str,
        handles: tuple[int, ...],
        terminal: Mapping[str, Any] | None = None,
    ) -> tuple[int, list[int]]:
        """Start a process on `handles` and a terminal; return its number and the other end."""
        if not argv:
            raise SpawnError("the image has no command and none was given", EXIT_NOT_FOUND)
        number = self._request(
            {
                "op": "spawn",
                "argv": list(argv),
                "env": [f"{key}={value}" for key, value in env.items()],
                "cwd": workdir,
                "terminal": terminal,
            },
            handles,
        )
        reply, back = self._reply(number, START_SECONDS)
        if reply["event"] == "failed":
            raise _spawn_error(argv[0], workdir, reply)
        return number, back

    def signal(self, number: int, which: int) -> None:
        """Send a signal to a process started by `spawn`; a process that ended gets none."""
        if number not in self._exits:
            self._send({"op": "signal", "id": number, "signal": which})

    def poll(self, number: int) -> int | None:
        """Return the exit code of a process, None while it runs. Never blocks."""
        self._receive(0)
        return self._exits.get(number)

    def wait(self, number: int, timeout: float) -> int | None:
        """Wait up to `timeout` seconds for a process's exit code; None when it still runs."""
        end = time.monotonic() + timeout
        while number not in self._exits:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._receive(left)
        return self._exits[number]

    def connect(self, port: int) -> socket.socket:
        """Open a TCP connection to 127.0.0.1:`port` made inside the container's network.

        Raise ConnectionRefusedError or another OSError, as connecting from inside would.
        """
        number = self._request({"op": "connect", "port": port})
        reply, handles = self._reply(number, START_SECONDS)
        if reply["event"] == "refused":
            raise OSError(reply["errno"], os.strerror(reply["errno"]))
        return socket.socket(fileno=handles[0])

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        workdir: str = "/",
        timeout: float,
        max_output: int = MAX_OUTPUT,
    ) -> Completed:
        """Run a command to its end with captured output and no input.

        After `timeout` seconds or `max_output` bytes on one stream it is killed and the result
        says so. Raise SpawnError.
        """
        started = time.monotonic()
        number, pipes = self._start_piped(argv, env, workdir)
        try:
            return self._collect(number, pipes, started, timeout, max_output)
        finally:
            for pipe in pipes:
                os.close(pipe)

    def _start_piped(
        self, argv: Sequence[str], env: Mapping[str, str], workdir: str
    ) -> tuple[int, tuple[int, ...]]:
        """Start a process; return its number and where its stdout and stderr are read."""
        if self._plan.spec.tty:
            number, terminal = self._spawn(argv, {"TERM": "xterm", **env}, workdir, (), TERMINAL)
            return number, tuple(terminal)
        out_read, out_write = owned_pipe(self.host_id)
        err_read, err_write = owned_pipe(self.host_id)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number, _ = self._spawn(argv, env, workdir, (null, out_write, err_write))
        except BaseException:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            for handle in (null, out_write, err_write):
                os.close(handle)
        return number, (out_read, err_read)

    def _collect(
        self,
        number: int,
        pipes: tuple[int, ...],
        started: float,
        timeout: float,
        max_output: int,
    ) -> Completed:
        chunks: dict[int, bytearray] = {pipe: bytearray() for pipe in pipes}
        timed_out = False
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ)
            selector.register(self.fileno(), selectors.EVENT_READ)
            while number not in self._exits:
                left = started + timeout - time.monotonic()
                timed_out = left <= 0
                if timed_out or any(len(data) > max_output for data in chunks.values()):
                    self.signal(number, signal.SIGKILL)
                    self.wait(number, START_SECONDS)
                    break
                for key, _ in selector.select(left):
                    if key.fd in chunks:
                        if not _drain(key.fd, chunks[key.fd]):
                            selector.unregister(key.fd)
                    else:
                        self._receive(0)
        for pipe in pipes:
            # A detached child may never close the pipe: take only what is there.
            before = -1
            while before < len(chunks[pipe]) <= max_output:
                before = len(chunks[pipe])
                _drain(pipe, chunks[pipe])
        return Completed(
            stdout=bytes(chunks[pipes[0]][:max_output]),
            stderr=bytes(chunks[pipes[1]][:max_output]) if len(pipes) > 1 else b"",
            exit_code=self._exits.get(number, 128 + signal.SIGKILL),
            seconds=time.monotonic() - started,
            timed_out=timed_out,
            overflowed=any(len(data) > max_output for data in chunks.values()),
        )

    # The conversation with PID 1.

    def _socket(self) -> socket.socket:
        if self._control is None:
            raise ContainerError("the container is not running")
        return self._control

    def _send(self, message: dict[str, Any], handles: tuple[int, ...] = ()) -> None:
        try:
            init.send(self._socket(), message, handles)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ContainerError("the container's first process ended unexpectedly") from error
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise ContainerError("the command and its environment are too long") from error

    def _request(self, message: dict[str, Any], handles: tuple[int, ...] = ()) -> int:
        self._next += 1
        self._send({**message, "id": self._next}, handles)
        return self._next

    def _reply(self, number: int, timeout: float) -> tuple[dict[str, Any], list[int]]:
        end = time.monotonic() + timeout
        while number not in self._replies:
            left = end - time.monotonic()
            if left <= 0:
                raise ContainerError(f"the container did not answer within {timeout:.0f} s")
            self._receive(left)
        return self._replies.pop(number)

    def _receive(self, timeout: float) -> None:
        """Take all pending messages; wait up to `timeout` seconds for the first."""
        handle = self._socket()
        taken = False
        while True:
            handle.settimeout(0 if taken else timeout)
            try:
                data, handles = init.receive(handle)
            except (BlockingIOError, TimeoutError):
                return
            except ConnectionResetError:
                data, handles = b"", []
            finally:
                handle.settimeout(None)
            if not data:
                if taken:
                    return  # Handle its last messages first; the next call sees the end again.
                raise ContainerError("the container's first process ended unexpectedly")
            taken = True
            message = json.loads(data)
            if message["event"] == "exited":
                self._exits[message["id"]] = message["code"]
                if message["id"] in self._streams:
                    self._streams.pop(message["id"]).finish()
            elif message["event"] == "error" and self._next:
                raise ContainerError(f"the container's first process failed: {message['message']}")
            else:
                self._replies[message["id"]] = (message, handles)


def _drain(pipe: int, into: bytearray) -> bool:
    """Read what is there, at most 1 MiB; return False at the end of the stream."""
    try:
        data = os.read(pipe, 1 << 20)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.EIO:  # A terminal's end, when nothing has it open any more.
            raise
        return False
    into += data
    return bool(data)


def _spawn_error(program: str, workdir: str, reply: dict[str, Any]) -> SpawnError:
    number, what = int(reply["errno"]), str(reply["what"])
    text = os.strerror(number).lower()
    if what == "workdir":
        return SpawnError(f"cannot enter the working directory {workdir!r}: {text}", 126)
    if what != "exec":
        return SpawnError(f"cannot start {program!r}: {what}: {text}", EXIT_NOT_EXECUTABLE)
    if number in (errno.ENOENT, errno.ENOTDIR):
        if "/" in program:
            return SpawnError(
                f"exec: {program!r}: no such file in the image (or its interpreter is missing)",
                EXIT_NOT_FOUND,
            )
        return SpawnError(f"exec: {program!r}: not found in the image's $PATH", EXIT_NOT_FOUND)
    if number == errno.ENOEXEC:
        text = "exec format error (built for another machine, or a script without #!)"
    return SpawnError(f"exec: {program!r}: {text}", EXIT_NOT_EXECUTABLE)
