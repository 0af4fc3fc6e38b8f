"""The one place that starts other programs: list arguments, fixed environment, limits."""

import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.video.errors import MemoryLimitError, TimeLimitError, ToolError
from app.video.options import DEFAULT_LIMITS, Limits, no_stop

POLL_S = 0.1
TAIL_CHARACTERS = 600
# How programs, and the loader before them, say that there was no memory to be had.
NO_MEMORY = re.compile(
    "Cannot allocate memory|Out of memory|get_buffer\\(\\) failed"
    "|Resource temporarily unavailable"  # no room for another thread
    "|failed to map segment|cannot map zero-fill pages"
)
# How ffmpeg and ffprobe say that a picture is over `-max_pixels`, or over what they can do at all.
TOO_LARGE = re.compile(r"Picture size (\d+x\d+) (?:is invalid|exceeds)")
# What a program may see of our environment. No secret is among it.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Finished:
    """How a program ended: its exit code, its output, and the last characters of its complaints."""

    code: int
    output: bytes
    error_tail: str


def start(
    arguments: Sequence[str], *, limits: Limits, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program with its output and its complaints on pipes. Raises ToolError."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
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
        raise ToolError(f"{arguments[0]} could not be started ({error.strerror})") from error
    _confine(process.pid, limits)
    return process


def _confine(pid: int, limits: Limits) -> None:
    # From outside, because code between fork and exec is not safe beside threads. The first
    # milliseconds in which the program is loaded go unlimited; no input is open by then.
    seconds = max(1, int(limits.wall_time)) * (os.cpu_count() or 1)
    for kind, value in (
        # What it sets aside or loads but never writes to costs nothing, and grows with the cores.
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_CPU, seconds),  # ends even a child whose parent was killed
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            _, hard = resource.prlimit(pid, kind)
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, kind, (bound, bound))
        except ProcessLookupError:  # has ended already
            return


def run(
    arguments: Sequence[str],
    *,
    timeout: float,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_stop,
) -> Finished:
    """Run a program for at most `timeout` seconds and return how it ended, whatever its exit code.

    `checkpoint` is called ten times a second and may raise to stop: that passes through. Raises
    ToolError when the program cannot be started, TimeLimitError when it does not end in time. It is
    gone by then, whatever happens.
    """
    with start(arguments, limits=limits) as process:
        try:
            output, complaints = _ended(process, timeout=timeout, checkpoint=checkpoint)
        except BaseException:
            process.kill()
            raise
    return Finished(process.returncode, output, _tail(complaints))


def _ended(
    process: subprocess.Popen[bytes], *, timeout: float, checkpoint: Callable[[], None]
) -> tuple[bytes, bytes]:
    """Return the output and the complaints of a program, once it has ended."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            return process.communicate(timeout=min(POLL_S, timeout))
        except subprocess.TimeoutExpired:
            checkpoint()
    assert isinstance(process.args, list)  # noqa: S101  (as `start` gives it)
    name = Path(process.args[0]).name
    raise TimeLimitError(f"{name} did not get through it in {timeout:g} s")


def _tail(stderr: bytes) -> str:
    text = " / ".join(stderr.decode("utf-8", "replace").split("\n")).strip(" /")
    return text[-TAIL_CHARACTERS:] or "no message"


def no_memory(limits: Limits) -> MemoryLimitError:
    """Return what a program failed of that had no memory."""
    return MemoryLimitError(
        f"reading the video needs more memory than the {limits.memory >> 20} MiB allowed"
    )


def presentable(message: str, *, path: object) -> str:
    """Remove what is nobody's business outside: our path, and addresses of ffmpeg's objects."""
    message = message.replace(f"file:{path}", "the file")
    return re.sub(r" @ 0x[0-9a-f]+", "", message)
