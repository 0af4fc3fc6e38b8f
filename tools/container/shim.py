"""The two processes between a caller and its container: the shim, and PID 1.

The shim is forked by the caller, enters the namespaces and forks PID 1, because a PID namespace
begins with the next child. Either dies with its parent, and with PID 1 the kernel ends everything
in the container. Both tell the caller over the control socket when they cannot go on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any, NoReturn

from tools.cli import ToolError
from tools.container import gate, init
from tools.container.cgroup import Group
from tools.container.namespace import configure, enter_root, unshare_all
from tools.container.plan import Plan
from tools.container.unused_id import Held, hold, unused_id, why_not
from tools.linux import syscalls as linux

STOP_SECONDS = 5.0


def start(plan: Plan, stage: Path, group: Group | None) -> tuple[int, socket.socket, socket.socket]:
    """Fork the shim; return its process id and the caller's ends of the control socket and gate.

    Everything in the container is a member of `group`.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, init.MESSAGE_BYTES)
    our_gate, their_gate = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    caller = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        our_gate.close()
        _run_shim(plan, stage, group, theirs, their_gate, caller)
    theirs.close()
    their_gate.close()
    return pid, ours, our_gate


def end(pid: int) -> None:
    """Wait until the namespace is empty, which PID 1 sees to when the control socket closes."""
    handle = os.pidfd_open(pid)
    try:
        if not select.select([handle], [], [], STOP_SECONDS)[0]:
            # The shim's death takes PID 1 with it, and PID 1 everything else.
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)
    os.waitpid(pid, 0)


def _run_shim(
    plan: Plan,
    stage: Path,
    group: Group | None,
    control: socket.socket,
    passage: socket.socket,
    caller: int,
) -> NoReturn:
    """Be the shim: enter the namespaces, fork PID 1, and hand out sockets until it ends."""
    try:
        # A session of its own keeps the terminal's Ctrl-C away: the caller decides what it means.
        os.setsid()
        # The same for signals to every process of a name (pkill): this one and PID 1 end when the
        # caller does, which has processes to stop in good order, and not before.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        init.default_signals()
        signal.set_wakeup_fd(-1)
        # Descriptors of the caller must neither be reachable inside nor kept open by us.
        _close_others(control.fileno(), passage.fileno())
        if group is not None:
            group.join()
        host_id, held, reduced = os.geteuid(), None, ""
        if host_id == 0:
            with contextlib.suppress(PermissionError):  # Root of a namespace without groups.
                os.setgroups([])
            host_id, held, reduced = _leave_root(plan, stage)
        unshare_all(plan, stage, (host_id, host_id) if held is not None else None)
        if plan.spec.network == "web":
            listeners = gate.open_web(plan.spec.out_ports)
            socket.send_fds(passage, [b"="], [each.fileno() for each in listeners])
            for each in listeners:
                each.close()
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != caller:
            os._exit(1)
        pid = os.fork()
        if pid == 0:
            passage.close()
            ready = {"host_id": host_id, "reduced": reduced}
            _run_init(plan, stage, held, control, group, ready)
        control.close()
        for copies in (held or {}).values():
            for copy in copies:
                os.close(copy)
        gate.attend(passage, pid)
    except (ToolError, OSError) as error:
        init.send(control, {"id": 0, "event": "error", "message": str(error)})
    finally:
        os._exit(1)


def _leave_root(plan: Plan, stage: Path) -> tuple[int, Held | None, str]:
    """Return the id to run as, the mounts that it needs, and why it is root's own if it is."""
    number = unused_id()
    reduced = why_not(plan, number)
    if not reduced:
        try:
            return number, hold(plan, stage, number), ""
        except OSError as error:
            reduced = f"a mount cannot be shown to another id: {error.strerror}"
    return 0, None, reduced


def _run_init(
    plan: Plan,
    stage: Path,
    held: Held | None,
    control: socket.socket,
    group: Group | None,
    ready: dict[str, Any],
) -> NoReturn:
    """Be PID 1 of the container."""
    grouped = group is not None and "memory" in group.limits
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        enter_root(plan, stage, held)
        # Later, PID 1 may not open its own files in /proc.
        score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC) if grouped else None
        configure(plan)
        init.send(control, {"id": 0, "event": "ready", **ready})
        memory_bytes = None if grouped else plan.spec.memory_bytes
        init.serve_requests(control, memory_bytes=memory_bytes, score=score)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller has to know
        message = str(error) if isinstance(error, ToolError | OSError) else repr(error)
        # The caller may be gone.
        with contextlib.suppress(OSError):
            init.send(control, {"id": 0, "event": "error", "message": message})
    finally:
        os._exit(1)


def _close_others(*kept: int) -> None:
    """Close every descriptor but the standard three and those to keep."""
    last = 2
    for handle in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        os.closerange(last + 1, handle)
        last = handle
