"""Run ffmpeg and ffprobe: argument lists, a fixed environment, limits, no rights."""

import contextlib
import os
import re
import resource
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.sandbox import decoder
from app.video.errors import MemoryLimitError, TimeLimitError, ToolError
from app.video.options import DEFAULT_LIMITS, Limits, no_checkpoint

POLL_S = 0.1
_STACK_BYTES = 2 << 20
TAIL_LENGTH = 4000
# Messages by which programs, and the dynamic loader, report that memory ran out.
OUT_OF_MEMORY = re.compile(
    "Cannot allocate memory|Out of memory|get_buffer\\(\\) failed"
    "|Resource temporarily unavailable"  # cannot create another thread
    "|failed to map segment|cannot map zero-fill pages"
)
# After this message ffmpeg 7 may never end: it asks the decoder for the same frame again and again.
DECODER_OUT_OF_MEMORY = b"Decoding error: Cannot allocate memory"
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
    arguments: Sequence[str],
    *,
    limits: Limits,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    pass_fds: Sequence[int] = (),
    niceness: int = 0,
) -> subprocess.Popen[bytes]:
    """Start a program with stdout and stderr on pipes. Raise ToolError if that fails.

    Of files it may read those in `read` and read and write those in `write`, which exist; see
    `app.sandbox` for everything else that it may not do.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        process = decoder.start(
            arguments,
            environment=environment | {"LC_ALL": "C"},
            limits=_resource_limits(limits),
            read=read,
            write=write,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise ToolError(f"cannot start {arguments[0]} ({error.strerror})") from error
    if niceness:
        with contextlib.suppress(OSError):  # exited, or some sandbox forbids it
            os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    return process


def _resource_limits(limits: Limits) -> dict[int, int]:
    return {
        # Not RLIMIT_AS: memory reserved but never written costs nothing, and grows with the cores.
        resource.RLIMIT_DATA: limits.memory,
        # Stacks of threads count as data, in full; FFmpeg 7 has a thread for each of its parts.
        resource.RLIMIT_STACK: _STACK_BYTES,
        # Ends even an orphaned child.
        resource.RLIMIT_CPU: max(1, int(limits.wall_time)) * (os.cpu_count() or 1),
        resource.RLIMIT_CORE: 0,
    }


def run(
    arguments: Sequence[str],
    *,
    timeout: float,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    niceness: int = 0,
) -> Finished:
    """Run a program for at most `timeout` seconds; return its outcome whatever the exit code.

    `checkpoint` is called at least ten times a second and may raise to abort; the exception
    propagates. `read` and `write` as in `start`. Raise ToolError if the program cannot be started,
    TimeLimitError if it times out, MemoryLimitError if a decoder runs out of memory. In every case
    it has exited when this returns or raises.
    """
    tail = b""

    def keep(log: bytes) -> None:
        nonlocal tail
        tail = (tail + log)[-TAIL_LENGTH:]

    with start(arguments, limits=limits, read=read, write=write, niceness=niceness) as process:
        output = b"".join(
            _read(process, timeout=timeout, limits=limits, checkpoint=checkpoint, log=keep)
        )
    return Finished(process.returncode, output, tail.decode("utf-8", "replace").strip())


def stream(
    arguments: Sequence[str],
    *,
    timeout: float,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = no_checkpoint,
    log: Callable[[bytes], None] | None = None,
    read: Sequence[Path] = (),
) -> Iterator[bytes]:
    """Yield a program's standard output in chunks, whatever its exit code; otherwise as `run`.

    `log` is called with standard error.
    """
    with start(arguments, limits=limits, read=read) as process:
        yield from _read(process, timeout=timeout, limits=limits, checkpoint=checkpoint, log=log)


def _read(
    process: subprocess.Popen[bytes],
    *,
    timeout: float,
    limits: Limits,
    checkpoint: Callable[[], None],
    log: Callable[[bytes], None] | None,
) -> Iterator[bytes]:
    """Yield standard output until the program has exited; kill it if anything raises."""
    deadline = time.monotonic() + timeout
    assert process.stdout is not None  # noqa: S101 - `start` creates pipes
    assert process.stderr is not None  # noqa: S101 - same
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                checkpoint()
                _check_time(process, deadline=deadline, timeout=timeout)
                for key, _ in selector.select(POLL_S):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        yield data
                    else:
                        _check_memory(data, limits=limits)
                        if log is not None:
                            log(data)
        while process.poll() is None:  # it has closed its output and goes on
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
            checkpoint()
            _check_time(process, deadline=deadline, timeout=timeout)
    except BaseException:
        process.kill()
        raise


def _check_memory(log: bytes, *, limits: Limits) -> None:
    if DECODER_OUT_OF_MEMORY in log:
        raise memory_limit_error(limits)


def _check_time(process: subprocess.Popen[bytes], *, deadline: float, timeout: float) -> None:
    if time.monotonic() > deadline:
        assert isinstance(process.args, list)  # noqa: S101 - set by `start`
        raise TimeLimitError(f"{Path(process.args[0]).name} timed out after {timeout:g} s")


def memory_limit_error(limits: Limits) -> MemoryLimitError:
    """Return the error of a program that ran out of memory."""
    return MemoryLimitError(
        f"decoding the video exceeded the memory limit of {limits.memory >> 20} MiB"
    )
