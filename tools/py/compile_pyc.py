"""Python sources on stdin → unchecked-hash bytecode on stdout: the worker behind `bytecode.py`.

For each file stdin carries a line "<length of path> <length of source>", then the path and the source;
stdout gets, in the same order, a line "<0 or 1> <length>" and the bytecode or, after a 1, the error's text.

Every file is compiled in a fork of one small, freshly started process. marshal marks an object as shared by
its reference count, and the counts of interned strings depend on all a process did before, so compiling many
files in one process gives bytes that depend on their order. Files with an unchecked hash are never compared
with their source (PEP 552), so they stay valid whatever time an image gives it.

Only built-in and already loaded modules are imported, and nothing from this repository.
"""

import importlib._bootstrap_external as loader  # type: ignore[import-not-found]  # typeshed leaves it out
import os
import sys
from _imp import source_hash  # the hash that importlib itself computes


def _compile(path: bytes, source: bytes) -> tuple[int, bytes]:
    try:
        code = compile(source, os.fsdecode(path), "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError) as error:
        return 1, str(error).encode("utf-8", "backslashreplace")
    packed = loader._code_to_hash_pyc(code, source_hash(loader._RAW_MAGIC_NUMBER, source), False)
    return 0, bytes(packed)


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
    """Serves stdin until it ends."""
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
