"""What use-cases need of whatever carries out analyses."""

import enum
from typing import Protocol


class WorkerState(enum.StrEnum):
    """How analyses are carried out at this moment."""

    EMBEDDED = "embedded"
    """By a thread of this process."""
    CELERY = "celery"
    """By Celery workers; the broker answers."""
    UNREACHABLE = "unreachable"
    """By Celery workers, but the broker does not answer; work is kept until it does."""
    STOPPED = "stopped"
    """By nobody: the thread of this process has died."""


class AnalysisQueue(Protocol):
    """Carries out queued analyses. The rows are the queue; this is only told to look at them."""

    def wake(self) -> None:
        """Look for queued rows now. To be called after the commit that queued them."""

    def state(self) -> WorkerState:
        """Tell how analyses are carried out; answers within two seconds."""
