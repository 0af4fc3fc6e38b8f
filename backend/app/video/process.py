"""Run ffmpeg and ffprobe: argument lists, a fixed environment, resource limits."""

import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.video.errors import MemoryLimitError, TimeLimitError, ToolError
from app.video.options import DEFAULT_LIMITS, Limits, no_checkpoint

POLL_S = 0.1
TAIL_LENGTH = 600
# Messages by which programs, and the dynamic loader, report that memory ran out.
OUT_OF_MEMORY = re.compile(
    "Cannot allocate memory|Out of memory|get_buffer\\(\\) failed"
    "|Resource temporarily unavailable"  # cannot create another thread
    "|failed to map segment|cannot map zero-fill pages"
)
# How ffmpeg and ffprobe report a frame larger than `-max_pixels`, or than they support at all.
TOO_LARGE = re.compile(r"Picture size (\d+x\d+) (?:is invalid|exceeds)")
# Environment variables passed on to programs. None of them is secret.
_INHERITED = ("PATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Finished:
    """The outcome of a program: exit code, standard output, and the tail of standard error."""

    code: int
    output: bytes
    error_tail: str


def start(
    arguments: Sequence[str], *, limits: Limits, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program with stdout and stderr on pipes. Raise ToolError if that fails."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | {"LC_ALL": "C"},
            pass_fds=tuple(pass_fds),
        )
    except OSError as error:
        raise ToolError(f"cannot start {arguments[0]} ({error.strerror})") from error
    _confine(process.pid, limits)
    return process


def _confine(pid: int, limits: Limits) -> None:
    # Set from the parent, because code between fork and exec is not safe with threads. The program
    # is unlimited for the first milliseconds, before it opens any input.
    seconds = max(1, int(limits.wall_time)) * (os.cpu_count() or 1)
    for kind, value in (
        # Not RLIMIT_AS: memory reserved but never written costs nothing, and grows with the cores.
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_CPU, seconds),  # ends even an orphaned child
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            _, hard = resource.prlimit(pid, kind)
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, kind, (bound, bound))
        except ProcessLookupError:  # already exited
            return


def run(
    arguments: Sequence[str],
    *,
    timeout: float,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
) -> Finished:
    """Run a program for at most `timeout` seconds; return its outcome whatever the exit code.

    `checkpoint` is called ten times a second and may raise to abort; the exception propagates.
    Raise ToolError if the program cannot be started, TimeLimitError if it times out. In every case
    the program has exited when this returns or raises.
    """
    with start(arguments, limits=limits) as process:
        try:
            stdout, stderr = _wait(process, timeout=timeout, checkpoint=checkpoint)
        except BaseException:
            process.kill()
            raise
    return Finished(process.returncode, stdout, _tail(stderr))


def _wait(
    process: subprocess.Popen[bytes], *, timeout: float, checkpoint: Callable[[], None]
) -> tuple[bytes, bytes]:
    """Wait for a program to exit; return its stdout and stderr."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            return process.communicate(timeout=min(POLL_S, timeout))
        except subprocess.TimeoutExpired:
            checkpoint()
    assert isinstance(process.args, list)  # noqa: S101 - set by `start`
    name = Path(process.args[0]).name
    raise TimeLimitError(f"{name} timed out after {timeout:g} s")


def _tail(stderr: bytes) -> str:
    text = " / ".join(stderr.decode("utf-8", "replace").split("\n")).strip(" /")
    return text[-TAIL_LENGTH:] or "no error message"


def memory_limit_error(limits: Limits) -> MemoryLimitError:
    """Return the error of a program that ran out of memory."""
    return MemoryLimitError(
        f"decoding the video exceeded the memory limit of {limits.memory >> 20} MiB"
    )


def sanitize(message: str, *, path: object) -> str:
    """Remove internal details from a message: the file's path and memory addresses."""
    message = message.replace(f"file:{path}", "the file")
    return re.sub(r" @ 0x[0-9a-f]+", "", message)
