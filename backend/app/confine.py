"""Bounds what a process that analyses may take from those beside it (Linux only)."""

import contextlib
import os
import resource
from pathlib import Path

# Added to the badness by which the kernel chooses whom to kill when memory runs out.
OOM_SCORE = 500
NICENESS = 5


def confine(*, memory: int) -> None:
    """Limit this process to `memory` bytes of its own data, and let others go first.

    Beyond the limit an allocation fails, which ends one analysis with a reason instead of the
    machine's patience.
    """
    # OpenBLAS sets memory aside for each core it sees, which on a large machine is all of it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    with contextlib.suppress(OSError):  # some sandboxes mount /proc read-only
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
