"""Run Python programs one after the other, each in a fork of this process.

    python3 run_programs.py SECONDS < requests

A request is a line of JSON, `["tools/x/y.py", "argument", …]`; the reply is one too, `[exit code,
"what it printed"]`, with a negative number for a signal. What a program imports has been imported
here, before the fork: most of a short command is the start of its interpreter. Nothing else of a
program reaches the next. One that takes longer than SECONDS is killed by SIGALRM.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys


def preload(script: str) -> None:
    """Import the program as a module, if it can be; its own error shows when it runs."""
    for entry in sys.path:
        path = os.path.relpath(script, entry)
        if not path.startswith(".."):
            with contextlib.suppress(Exception):
                importlib.import_module(path.removesuffix(".py").replace("/", "."))
            return


def become(arguments: list[str], output: int, seconds: int) -> None:
    """Be the program, in a process of its own."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.alarm(seconds)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
    sys.exit()


def main() -> None:
    """Serve requests until stdin ends."""
    seconds = int(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        arguments = json.loads(line)
        preload(arguments[0])
        output = os.memfd_create("output")
        process = os.fork()
        if process == 0:
            become(arguments, output, seconds)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        with os.fdopen(output, "rb") as stream:
            stream.seek(0)
            said = stream.read().decode("utf-8", "replace")
        print(json.dumps([code, said]), file=replies, flush=True)


if __name__ == "__main__":
    main()
