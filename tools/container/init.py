"""PID 1 of a container: starts processes on request, reaps, and tells the caller how they ended.

`serve_requests` runs after `pivot_root`, so everything it uses is imported above: there is no
standard library left on disk. Requests and replies are JSON objects in one SOCK_SEQPACKET message
each, file descriptors travel beside them (SCM_RIGHTS):

    {"op": "spawn", "id": 1, "argv": [..], "env": [..], "cwd": ".."} + stdin, stdout, stderr
    {"op": "spawn", .., "terminal": {"on": [0, 1, 2], "rows": 24, "columns": 80, "raw": false}}
      these streams are a new terminal, only the others have descriptors; raw: lines end with LF
    {"op": "signal", "id": 1, "signal": 15}
    {"op": "connect", "id": 2, "port": 8000}
    <- {"id": 1, "event": "started"} (+ terminal) | {"event": "failed", "errno": 2, "what": ".."}
    <- {"id": 1, "event": "exited", "code": 0}       128 + signal when it was killed
    <- {"id": 2, "event": "connected"} + socket | {"event": "refused", "errno": 111, ..}

When the caller's end closes, PID 1 exits and the kernel kills whatever is left in the namespace.
"""

from __future__ import annotations

import array  # noqa: F401 - socket.recv_fds imports it when called, too late
import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import termios
from typing import Any, NoReturn

MESSAGE_BYTES = 1 << 20
CONNECT_SECONDS = 2.0
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441  # asm-generic/ioctls.h


def serve_requests(
    control: socket.socket, *, memory_bytes: int | None = None, score: int | None = None
) -> None:
    """Run until the caller closes its end of `control`.

    `memory_bytes` limits the address space of each process that is started, not PID 1's own;
    `score` is PID 1's oom_score_adj, open, if the kernel is to kill them and not PID 1 when their
    group has no memory left.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    # PID 1 gets only signals it has a handler for, and the shim has blocked those of the caller.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    running: dict[int, int] = {}
    while True:
        ready = select.select([control.fileno(), wake_read], [], [])[0]
        if wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
        _reap(control, running)
        if control.fileno() in ready:
            data, handles = receive(control)
            if not data:
                return
            request = json.loads(data)
            request |= {"memory_bytes": memory_bytes, "score": score}
            try:
                _handle(control, running, request, handles)
            finally:
                for handle in handles:
                    os.close(handle)


def send(control: socket.socket, message: dict[str, Any], handles: tuple[int, ...] = ()) -> None:
    """Send one message."""
    socket.send_fds(control, [json.dumps(message).encode()], list(handles))


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one message; b"" at the end. Descriptors are closed by an exec."""
    data, handles, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 8)
    for handle in handles:
        # recv_fds takes flags but does not pass them on, so MSG_CMSG_CLOEXEC is of no use.
        os.set_inheritable(handle, False)  # noqa: FBT003 - takes no keyword
    return data, handles


def default_signals() -> None:
    """Give every signal its default action.

    Python ignores some, a caller may ignore others (nohup), and what is ignored stays so across an
    exec; a handler of the caller's would run in a process that it knows nothing of.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # The C library keeps the first real-time signals to itself.
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_DFL)


def _handle(
    control: socket.socket, running: dict[int, int], request: dict[str, Any], handles: list[int]
) -> None:
    if request["op"] == "spawn":
        terminal = request["terminal"]
        if terminal is None:
            _start(control, running, request, handles, ())
            return
        try:
            master, inside = _open_terminal(terminal)
        except OSError as error:
            failure = {"errno": error.errno, "what": "terminal"}
            send(control, {"id": request["id"], "event": "failed", **failure})
            return
        others = iter(handles)
        streams = [inside if index in terminal["on"] else next(others) for index in range(3)]
        _start(control, running, request, streams, (master,))
        os.close(master)
        os.close(inside)
    elif request["op"] == "signal":
        for pid, number in running.items():
            if number == request["id"]:
                os.kill(pid, request["signal"])
    elif request["op"] == "connect":
        _connect(control, request)


def _start(
    control: socket.socket,
    running: dict[int, int],
    request: dict[str, Any],
    handles: list[int],
    back: tuple[int, ...],
) -> None:
    pid, failure = _spawn(request, handles)
    if failure is not None:
        send(control, {"id": request["id"], "event": "failed", **failure})
    else:
        running[pid] = request["id"]
        send(control, {"id": request["id"], "event": "started"}, back)


def _open_terminal(wanted: dict[str, Any]) -> tuple[int, int]:
    """Open a terminal of the container (pty(7)); return the caller's end and the process's."""
    outer = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(outer, TIOCSPTLCK, struct.pack("i", 0))
        size = struct.pack("4H", wanted["rows"], wanted["columns"], 0, 0)
        fcntl.ioctl(outer, termios.TIOCSWINSZ, size)
        if wanted["raw"]:
            settings = termios.tcgetattr(outer)
            settings[1] &= ~termios.OPOST
            termios.tcsetattr(outer, termios.TCSANOW, settings)
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        return outer, fcntl.ioctl(outer, TIOCGPTPEER, flags)
    except OSError:
        os.close(outer)
        raise


def _reap(control: socket.socket, running: dict[int, int]) -> None:
    """Reap every process that ended: ours and the orphans that PID 1 inherits."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in running:
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
            send(control, {"id": running.pop(pid), "event": "exited", "code": code})


def _connect(control: socket.socket, request: dict[str, Any]) -> None:
    """Open a connection from inside the network namespace and hands it to the caller."""
    try:
        # Not create_connection: resolving names would import codecs.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as handle:
            handle.settimeout(CONNECT_SECONDS)
            handle.connect(("127.0.0.1", request["port"]))
            handle.settimeout(None)
            send(control, {"id": request["id"], "event": "connected"}, (handle.fileno(),))
    except OSError as error:
        number = error.errno or errno.ETIMEDOUT
        send(control, {"id": request["id"], "event": "refused", "errno": number})


def _spawn(request: dict[str, Any], handles: list[int]) -> tuple[int, dict[str, Any] | None]:
    """Fork and executes; the pipe closes silently on success and carries the error otherwise."""
    read_end, write_end = os.pipe()
    try:
        pid = _fork(request["score"])
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        return 0, {"errno": error.errno, "what": "fork"}
    if pid == 0:
        _child(request, handles, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        report = pipe.read()
    if not report:
        return pid, None
    os.waitpid(pid, 0)
    failure: dict[str, Any] = json.loads(report)
    return 0, failure


def _fork(score: int | None) -> int:
    """Fork; the child is the first that the kernel kills for memory, if `score` is open."""
    if score is None:
        return os.fork()
    own = os.pread(score, 16, 0)
    os.write(score, b"1000")
    try:
        return os.fork()
    finally:
        if os.getpid() == 1:
            os.write(score, own)


def _child(request: dict[str, Any], handles: list[int], report: int) -> NoReturn:
    what = "start"
    try:
        signal.set_wakeup_fd(-1)
        default_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        if request["terminal"] is not None and 0 in request["terminal"]["on"]:
            fcntl.ioctl(handles[0], termios.TIOCSCTTY, 0)
        for target, handle in enumerate(handles[:3]):
            os.dup2(handle, target)
        what = "workdir"
        os.chdir(request["cwd"])
        if request["memory_bytes"] is not None:
            limit = request["memory_bytes"]
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        what = "exec"
        _execute(request["argv"], dict(item.split("=", 1) for item in request["env"]))
    except OSError as error:
        os.write(report, json.dumps({"errno": error.errno, "what": what}).encode())
    finally:
        os._exit(127)


def _execute(argv: list[str], env: dict[str, str]) -> None:
    """Execute like execvpe(3), with the container's own PATH; raise the most telling error."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    telling: OSError = FileNotFoundError(errno.ENOENT, "not found in PATH")
    for directory in env.get("PATH", "").split(":"):
        try:
            os.execve(os.path.join(directory or ".", argv[0]), argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            telling = error
    raise telling
