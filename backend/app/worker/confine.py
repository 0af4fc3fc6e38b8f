"""Limits for a process that runs analyses, and a line in the log about those of decoders."""

import contextlib
import logging
import os
import resource
from pathlib import Path

from app.logs import event
from app.sandbox import decoder, system
from app.services.health import decoder_isolation

# Added to the score by which the kernel's OOM killer picks its victim.
OOM_SCORE = 500
NICENESS = 5


def confine(*, memory: int) -> None:
    """Limit this process to `memory` bytes of data, lower its priority, and hide its memory.

    Beyond the limit allocations fail, so one analysis fails with a reason instead of exhausting the
    machine.
    """
    # OpenBLAS preallocates buffers per core, which on a large machine exceeds any sensible limit.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    # A hidden process, such as the fork of one, cannot write to its own files in /proc.
    system.set_memory_hidden(False)
    with contextlib.suppress(OSError):  # some sandboxes mount /proc read-only
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    system.set_memory_hidden(True)


def log_isolation() -> None:
    """Log how decoders are restricted, as a warning if an important part is not in force."""
    found = decoder_isolation()
    missing = decoder.missing(found)
    event(
        "decoders.isolated",
        level=logging.WARNING if missing else logging.INFO,
        isolation=found,
        missing=missing,
    )
