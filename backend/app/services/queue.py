"""The interface through which use cases reach whatever runs analyses."""

import enum
from typing import Protocol


class WorkerState(enum.StrEnum):
    """How analyses are currently run."""

    EMBEDDED = "embedded"
    """By a child of this process."""
    CELERY = "celery"
    """By Celery workers; the broker is reachable."""
    UNREACHABLE = "unreachable"
    """By Celery workers, but the broker is unreachable; work is kept until it is back."""
    STOPPED = "stopped"
    """Not at all: the child crashes on startup, or the thread that supervises it has died."""


class AnalysisQueue(Protocol):
    """Runs queued analyses. The rows are the queue; `wake` only prompts a look at them."""

    name: str
    """For logs."""

    def start(self) -> None:
        """Start; called once. The database may still be unavailable."""

    def request_stop(self) -> None:
        """Hand running analyses back immediately; return without waiting."""

    def stop(self) -> None:
        """Stop and wait, up to a timeout."""

    def wake(self) -> None:
        """Look for queued rows now. Call this after the commit that queued them."""

    def state(self) -> WorkerState:
        """Return how analyses are currently run, within two seconds."""
