"""What use-cases need of whatever carries out analyses."""

import enum
from typing import Protocol


class WorkerState(enum.StrEnum):
    """How analyses are carried out at this moment."""

    EMBEDDED = "embedded"
    """By a child of this process."""
    CELERY = "celery"
    """By Celery workers; the broker answers."""
    UNREACHABLE = "unreachable"
    """By Celery workers, but the broker does not answer; work is kept until it does."""
    STOPPED = "stopped"
    """By nobody: the child dies as soon as it starts, or its keeper has died."""


class AnalysisQueue(Protocol):
    """Carries out queued analyses. The rows are the queue; this is only told to look at them."""

    name: str
    """For the log."""

    def start(self) -> None:
        """Begin; called once, when the database is there or may come."""

    def ask_to_stop(self) -> None:
        """Hand back at once what is in hand; returns without waiting."""

    def stop(self) -> None:
        """End, waiting for a while."""

    def wake(self) -> None:
        """Look for queued rows now. To be called after the commit that queued them."""

    def state(self) -> WorkerState:
        """Tell how analyses are carried out; answers within two seconds."""
