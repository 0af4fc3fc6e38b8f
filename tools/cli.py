"""What every command-line tool here shares: the one error for people, and how a program ends.

    @tool("deb_layer")
    def main(argv: list[str] | None = None) -> None: ...

    if __name__ == "__main__":
        sys.exit(main())

Python 3.9 and the standard library alone: bazelw starts from here too.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, Union

Main = Callable[[Optional[list[str]]], Optional[int]]
# As a shell reports it: 128 + SIGINT.
_INTERRUPTED = 128 + signal.SIGINT


class ToolError(Exception):
    """A problem that the user can act on.

    The message names the thing at fault, the cause and the next step. A subclass exists only where
    some caller tells that problem from others.
    """


def read_text(path: Path) -> str:
    """Return a file's text; raise ToolError if it is not UTF-8.

    CRLF is read as a newline. A lone carriage return stays, unlike with `Path.read_text`.
    """
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ToolError(f"{path}: is not UTF-8: {error}") from error


def parse_json(text: Union[str, bytes]) -> Any:  # noqa: UP007 - Python 3.9
    """Return the value of a JSON text that others wrote; raise ValueError if it is none.

    Unlike json.loads, also for brackets nested too deep, which is a RecursionError there, and for
    NaN, Infinity and numbers beyond a float's, which json.dumps could not write (RFC 8259, 6).
    """
    import json  # here: bazelw imports this file at every start

    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number) or math.isnan(number):
        raise ValueError(f"{text} is not a number of JSON")
    return number


def tool(name: str, *, failure: int = 1) -> Callable[[Main], Callable[..., int]]:
    """Turn a main function into one that reports a ToolError or OSError in one line.

    `name` begins the line, and `failure` is then the exit code. A main function that returns None
    has succeeded; an interrupt gives 130.
    """

    def decorate(main: Main) -> Callable[..., int]:
        @functools.wraps(main)
        def reporting(argv: list[str] | None = None) -> int:
            try:
                return main(argv) or 0
            except BrokenPipeError:
                # The reader of our output has gone; Python would complain once more at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return failure
            except (ToolError, OSError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                return failure
            except KeyboardInterrupt:
                print(f"{name}: interrupted", file=sys.stderr)
                return _INTERRUPTED

        return reporting

    return decorate
