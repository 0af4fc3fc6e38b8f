"""The one place that starts other programs: list arguments, fixed environment, a time limit."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from app.video.errors import ToolError

TAIL_CHARACTERS = 600
# What a program may see of our environment. No secret is among it.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Finished:
    """How a program ended: its exit code, its output, and the last characters of its complaints."""

    code: int
    output: bytes
    error_tail: str


def run(arguments: Sequence[str], *, timeout: float) -> Finished:
    """Run a program for at most `timeout` seconds and return how it ended, whatever its exit code.

    Raises ToolError when it cannot be started or does not end in time (it is then killed).
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        finished = subprocess.run(
            list(arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=environment | {"LC_ALL": "C"},
        )
    except OSError as error:
        raise ToolError(f"{arguments[0]} could not be started ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        tail = _tail(error.stderr or b"")
        raise ToolError(f"{arguments[0]} did not end within {timeout:g} s; {tail}") from error
    return Finished(finished.returncode, finished.stdout, _tail(finished.stderr))


def _tail(stderr: bytes) -> str:
    text = " / ".join(stderr.decode("utf-8", "replace").split("\n")).strip(" /")
    return text[-TAIL_CHARACTERS:] or "no message"
