"""Give a reader one input, and see that it is read or refused, and nothing else happens.

    attempt(Reader("elf", damaged(object), read), content, scratch=directory)

Guarantee: a reader that raises anything but its documented error, uses more CPU time or memory
than it may, waits for nothing, or touches what lies outside its directory is an AssertionError.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tools.cli import ToolError

CPU_SECONDS = 5.0  # Of one input; the slowest known takes a fifth of it on a busy machine.
WAIT_SECONDS = 300.0  # A busy machine is not a reader that waits for ever.
MEMORY_BYTES = 768 << 20
_INSIDE, _OUTSIDE = "inside", "outside"
_CONTENT = b"untouched"
_PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Reader:
    """What reads untrusted bytes. `read` gets an input and an empty directory to write below.

    `refusals` are the errors that its documentation names. Where `names` is set, the message of a
    refusal must contain it: the file at fault. `read` may assert what holds for a second reader.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any, Path], object]
    refusals: tuple[type[Exception], ...] = (ToolError,)
    names: str = ""


class _LimitError(BaseException):
    """Time is over. Not an Exception, lest the reader under test takes it for its own."""


def attempt(reader: Reader, value: Any, *, scratch: Path) -> bool:
    """Return whether the reader accepted an input; raise AssertionError if it misbehaved.

    `scratch` is a directory of the caller's that one reader at a time may use.
    """
    inside = _fresh(scratch)
    try:
        with _limits(reader.name):
            reader.read(value, inside)
    except reader.refusals as error:
        text = str(error)
        assert text.strip(), f"{reader.name}: refused without a reason: {error!r}"
        assert reader.names in text, f"{reader.name}: the error does not name the file: {text}"
        return False
    except _LimitError as error:
        raise AssertionError(str(error)) from None
    except MemoryError as error:
        raise AssertionError(f"{reader.name}: took more than {MEMORY_BYTES} bytes") from error
    finally:
        _check_outside(scratch, reader.name)
    return True


def _fresh(scratch: Path) -> Path:
    """Return an empty directory beside one that must stay as it is."""
    inside, outside = scratch / _INSIDE, scratch / _OUTSIDE
    if inside.exists() and next(inside.iterdir(), None) is not None:
        shutil.rmtree(inside)
    inside.mkdir(exist_ok=True)
    if not outside.exists():
        outside.mkdir()
        (outside / "file").write_bytes(_CONTENT)
    return inside


def _check_outside(scratch: Path, name: str) -> None:
    outside = scratch / _OUTSIDE
    file = outside / "file"
    assert {each.name for each in scratch.iterdir()} == {_INSIDE, _OUTSIDE}, f"{name}: wrote beside"
    assert [each.name for each in outside.iterdir()] == ["file"], f"{name}: wrote outside"
    assert file.read_bytes() == _CONTENT, f"{name}: changed a file outside"
    assert file.stat().st_nlink == 1, f"{name}: linked to a file outside"


@contextlib.contextmanager
def _limits(name: str) -> Iterator[None]:
    """Limit the CPU time, the waiting and the memory of this process; for the main thread."""

    def stop(number: int, _: object) -> None:
        kind = "CPU time" if number == signal.SIGPROF else "time"
        seconds = CPU_SECONDS if number == signal.SIGPROF else WAIT_SECONDS
        raise _LimitError(f"{name}: took more than {seconds:g} s of {kind}")

    memory = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    timers = ((signal.ITIMER_PROF, CPU_SECONDS), (signal.ITIMER_REAL, WAIT_SECONDS))
    handlers = [(each, signal.signal(each, stop)) for each in (signal.SIGPROF, signal.SIGALRM)]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, memory[1]))
        for timer, seconds in timers:
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer, _ in timers:
            signal.setitimer(timer, 0)
        resource.setrlimit(resource.RLIMIT_AS, memory)
        for each, handler in handlers:
            signal.signal(each, handler)
