"""Resource limits for a process that runs analyses (Linux only)."""

import contextlib
import os
import resource
from pathlib import Path

# Added to the score by which the kernel's OOM killer picks its victim.
OOM_SCORE = 500
NICENESS = 5


def confine(*, memory: int) -> None:
    """Limit this process to `memory` bytes of data and lower its priority.

    Beyond the limit allocations fail, so one analysis fails with a reason instead of exhausting the
    machine.
    """
    # OpenBLAS preallocates buffers per core, which on a large machine exceeds any sensible limit.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    with contextlib.suppress(OSError):  # some sandboxes mount /proc read-only
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
