"""Run a tool as any program, or as a persistent worker of Bazel: one process for many actions.

    if __name__ == "__main__":
        sys.exit(run(main))

Most of a short action is the start of its interpreter. With `--persistent_worker` the process
serves one request after the other: a line of JSON on stdin has the arguments, a line on stdout the
exit code and the tool's output (Bazel, "Creating persistent workers"). Without it, the arguments
are the program's own, or in a file, one a line: `tool @FILE`.

Guarantee: an action has the same result either way. Nothing of a request is kept but what is found
by the hash of its input (`archive/bytecode.py`), and each finds fresh standard streams.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tools.cli import parse_json

Main = Callable[[list[str]], int]
_FLAG = "--persistent_worker"
# BSD's sysexits.h: the input data was incorrect. Bazel stops the build, and shows the message.
_BAD_REQUEST = 65


def run(main: Main) -> int:
    """Call `main` as the command line says; return the exit code of the process."""
    arguments = sys.argv[1:]
    if arguments == [_FLAG]:
        return serve(main)
    if len(arguments) == 1 and arguments[0].startswith("@"):
        path = Path(arguments[0][1:])
        try:
            arguments = path.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, UnicodeDecodeError) as error:
            print(f"{Path(sys.argv[0]).stem}: {path}: cannot be read: {error}", file=sys.stderr)
            return 1
    return main(arguments)


def serve(main: Main) -> int:
    """Serve requests until stdin ends; return the exit code of the process."""
    # The pipes are the protocol's alone: what a tool, or a program that it starts, prints on
    # descriptor 1 or 2 is part of the reply.
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    log = os.dup(2)
    said = os.memfd_create("output")
    nothing = os.open(os.devnull, os.O_RDONLY)
    for line in requests:
        try:
            request = parse_json(line)
            arguments, number = request["arguments"], request.get("requestId", 0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            os.dup2(log, 2)
            print(f"worker: not a request of Bazel's: {error!r}: {line[:200]!r}", file=sys.stderr)
            return _BAD_REQUEST
        # Again for each: a tool may have redirected them.
        for descriptor, target in ((0, nothing), (1, said), (2, said)):
            os.dup2(target, descriptor)
        code = _call(main, arguments)
        _reply(replies, code=code, output=_taken(said), number=number)
    return 0


def _call(main: Main, arguments: list[str]) -> int:
    """Return the code with which a process of its own would have ended."""
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except Exception:  # noqa: BLE001 - a fault of the tool fails this action, not the next
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _taken(said: int) -> str:
    """Return what was written, and leave the file empty for the next request."""
    output = os.pread(said, os.fstat(said).st_size, 0)
    os.ftruncate(said, 0)
    os.lseek(said, 0, os.SEEK_SET)
    return output.decode("utf-8", "replace")


def _reply(replies: BinaryIO, *, code: int, output: str, number: int) -> None:
    reply = {"exitCode": code, "output": output, "requestId": number}
    replies.write(json.dumps(reply).encode("ascii") + b"\n")
    replies.flush()
