"""Compile every Python module below some directories: `x.py` → `__pycache__/x.<tag>.pyc`.

    python3 compile_tree.py usr/lib/python3.11

A repository rule runs this once, with the interpreter that is to read the bytecode, so that no
later process has a reason to write into the repository. Same sources, same bytes, wherever the tree
lies: paths in the bytecode are relative to the working directory (the interpreter replaces them by
the real ones when it loads a module), hashes are unchecked (PEP 552), so that no timestamp counts,
and one process compiles all files in sorted order: marshal marks shared objects by reference count,
and the counts of interned strings depend on everything a process did before.

Only built-in and frozen modules are imported: what a process has loaded is part of its history too.
Files that do not compile, such as a test suite's bad examples, are left alone. So is what nobody
imports: packages of tests, and modules beside their compiled form (mypy's), which Python prefers.
"""

import importlib.util
import marshal
import os
import sys

_UNCHECKED_HASH = (1).to_bytes(4, "little")


def sources(directory: str) -> "list[str]":
    """Return the modules below `directory`, sorted; links to directories are not followed."""
    found = []
    pending = [directory]
    while pending:
        with os.scandir(pending.pop()) as listing:
            entries = list(listing)
        extensions = {e.name.partition(".")[0] for e in entries if e.name.endswith(".so")}
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "tests":
                    pending.append(entry.path)
            # A link to a file counts: the interpreter would write bytecode beside it too.
            elif (
                entry.is_file()
                and entry.name.endswith(".py")
                and entry.name.removesuffix(".py") not in extensions
            ):
                found.append(entry.path)
    return sorted(found)


def compile_file(path: str) -> bool:
    """Write the bytecode of one module; return whether it has any."""
    with open(path, "rb") as stream:
        source = stream.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return False
    target = importlib.util.cache_from_source(path, optimization="")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as stream:
        stream.write(importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH)
        stream.write(importlib.util.source_hash(source) + marshal.dumps(code))
    return True


def main(directories: "list[str]") -> int:
    """Compile all modules below the directories."""
    for directory in directories:
        for path in sources(directory):
            compile_file(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
