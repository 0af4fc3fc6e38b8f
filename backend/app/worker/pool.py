"""The process pool of the Celery worker."""

from typing import Any

from celery.concurrency import prefork

# More results than a process sends, and not the largest number: more are still counted.
ALL_READ = 2**30


class TaskPool(prefork.TaskPool):
    """Celery's prefork pool, without a wait that keeps it from stopping.

    A pool process only exits once the worker has read its results, or after 30 s. But when the
    worker stops, it drops the tasks that were handed to a process and not yet confirmed by it; with
    no tasks left it reads no results, and waits for the process instead. Nothing depends on the
    wait: results stay in the pipe, and the message of a dropped task is delivered again.
    """

    _pool: Any

    def on_stop(self) -> None:
        """Let the processes exit, then wait for them."""
        if self._pool is not None:
            counters = self._pool._on_ready_counters  # noqa: SLF001 - no public way
            for counter in counters.values():
                # Past its lock, which a process that was killed may still hold.
                counter.get_obj().value = ALL_READ
        super().on_stop()
