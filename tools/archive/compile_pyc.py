"""Python sources on stdin → unchecked-hash bytecode on stdout: the worker behind `bytecode.py`.

For each file stdin carries a line "<length of path> <length of source>", then the path and the
source; stdout gets, in the same order, a line "<status> <length>" and the bytecode (status 0), the
reason why the source does not compile (1), or nothing (any other: the process that compiles ended).

Every file is compiled in a fork of one small, freshly started process. marshal marks an object as
shared by its reference count, and the counts of interned strings depend on all a process did
before, so compiling many files in one process gives bytes that depend on their order. Files with an
unchecked hash are never compared with their source (PEP 552), so they stay valid whatever time an
image gives it.

Only built-in and already loaded modules are imported, and nothing from this repository.
"""

import importlib.util
import marshal
import os
import sys

# PEP 552: a hash instead of a time, never checked.
_UNCHECKED_HASH = (1).to_bytes(4, "little")


def _compile(path: bytes, source: bytes) -> tuple[int, bytes]:
    try:
        # In a variable: marshal's output depends on the number of references to `code` too.
        code = compile(source, os.fsdecode(path), "exec", dont_inherit=True, optimize=0)
        bytecode = marshal.dumps(code)
    except Exception as error:  # noqa: BLE001 - nesting too deep raises MemoryError, RecursionError
        return 1, (str(error) or type(error).__name__).encode("utf-8", "backslashreplace")
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source)
    return 0, header + bytecode


def _compile_in_fork(path: bytes, source: bytes) -> tuple[int, bytes]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status, result = _compile(path, source)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(result)
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pipe.read()
    _, wait_status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(wait_status), result


def main() -> int:
    """Serve stdin until it ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.readline():
        path_length, source_length = map(int, header.split())
        path = source.read(path_length)
        status, result = _compile_in_fork(path, source.read(source_length))
        sink.write(b"%d %d\n" % (status, len(result)))
        sink.write(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
