"""Python sources → unchecked-hash `.pyc` files; same source and path, same bytes.

PEP 552 pycs of this kind are loaded without a look at their source, so they are valid in an image
whose files all carry one time, and they are the only kind that is both deterministic and fast
there.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.archive import compile_pyc
from tools.cli import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIMEOUT_SECONDS = 1200

# -S and -P: no site customisation and no directory of ours may import a module into the worker
# first.
_WORKER_FLAGS = ("-S", "-P", "-W", "ignore")

# The order of a frozenset in bytecode follows the hashes of its strings.
_WORKER_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PATH": os.defpath}


# What this process has compiled, by path and content, the latest last: a worker compiles again only
# what has changed. Bytecode depends on nothing else, and failures are not kept.
_COMPILED: dict[tuple[str, bytes], bytes] = {}
_MOST_KEPT = 48 << 20  # bytes of bytecode


@dataclass(frozen=True)
class Source:
    """A module to compile; `path` is absolute and is what tracebacks in the image will show."""

    path: str
    data: bytes


def pyc_path(path: str) -> str:
    """Return where the interpreter looks for the bytecode of the module at `path` (PEP 3147)."""
    directory, _, name = path.rpartition("/")
    stem = name.removesuffix(".py")
    return f"{directory}/__pycache__/{stem}.{sys.implementation.cache_tag}.pyc"


def _run_worker(sources: Sequence[Source]) -> list[tuple[int, bytes]]:
    request = io.BytesIO()
    for source in sources:
        path = os.fsencode(source.path)
        request.write(b"%d %d\n" % (len(path), len(source.data)))
        request.write(path)
        request.write(source.data)
    worker = Path(compile_pyc.__file__)
    done = subprocess.run(
        [sys.executable, *_WORKER_FLAGS, str(worker)],
        input=request.getvalue(),
        env=_WORKER_ENVIRONMENT,
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        cause = done.stderr.decode(errors="replace")
        raise ToolError(f"the bytecode compiler stopped with {done.returncode}: {cause}")
    reply = io.BytesIO(done.stdout)
    results: list[tuple[int, bytes]] = []
    for _ in sources:
        status, length = map(int, reply.readline().split())
        results.append((status, reply.read(length)))
    return results


def compile_all(
    sources: Sequence[Source],
    *,
    jobs: int | None = None,
    skipped: Callable[[str], None] | None = None,
) -> dict[str, bytes]:
    """Return bytecode by the path of its `.pyc`; `jobs` (default: the cores) changes no byte.

    A source that does not compile is a ToolError. With `skipped`, which gets the message, it just
    has no bytecode.
    """
    keys = [(source.path, hashlib.sha256(source.data).digest()) for source in sources]
    known = {key: _COMPILED[key] for key in keys if key in _COMPILED}
    missing = [source for source, key in zip(sources, keys, strict=True) if key not in known]
    made = iter(_compile(missing, jobs=jobs))
    compiled: dict[str, bytes] = {}
    for source, key in zip(sources, keys, strict=True):
        status, result = (0, known[key]) if key in known else next(made)
        if status == 0:
            _COMPILED.pop(key, None)
            compiled[pyc_path(source.path)] = _COMPILED[key] = result
            continue
        if status != 1:  # killed, perhaps for lack of memory: another run may give bytecode
            raise ToolError(f"{source.path}: the bytecode compiler stopped with {status}")
        message = f"{source.path} does not compile: {result.decode(errors='replace')}"
        if skipped is None:
            raise ToolError(message)
        skipped(message)
    _forget()
    return compiled


def _compile(sources: Sequence[Source], *, jobs: int | None) -> list[tuple[int, bytes]]:
    if not sources:
        return []
    workers = max(1, min(jobs or len(os.sched_getaffinity(0)), len(sources)))
    # Neighbours are of similar size; dealing them out keeps the workers equally busy.
    shares = [sources[start::workers] for start in range(workers)]
    results: list[tuple[int, bytes]] = [(0, b"")] * len(sources)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for start, share in enumerate(pool.map(_run_worker, shares)):
            results[start::workers] = share
    return results


def _forget() -> None:
    """Drop what was used longest ago, so that a worker's memory has a limit."""
    size = sum(map(len, _COMPILED.values()))
    while size > _MOST_KEPT:
        size -= len(_COMPILED.pop(next(iter(_COMPILED))))
