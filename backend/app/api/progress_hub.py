"""One watcher per process for all progress streams.

Workers write progress into the analysis row, wherever they run. One task per process polls the
revisions of all watched rows a few times a second and wakes the streams when any of them has
changed, so the cost does not grow with the number of listeners.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Iterable

import anyio
from anyio import Event
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from app.api.schemas import AnalysisOut
from app.db import Database
from app.logs import event
from app.services import analyses

INTERVAL_S = 0.5


class ProgressHub:
    """Watch analysis rows on behalf of all streams of this process."""

    def __init__(self, database: Database) -> None:
        """Prepare; `run` does the watching."""
        self._database = database
        self._watched: Counter[uuid.UUID] = Counter()
        self.states: dict[uuid.UUID, AnalysisOut | None] = {}
        """Last known state of each watched row; None for a deleted row."""
        self.changed = Event()
        """Set, and replaced by a new event, when `states` changes or the service stops."""
        self.closed = False
        """Set when streams have to end because the service is stopping."""

    async def run(self) -> None:
        """Poll the watched rows until cancelled."""
        while True:
            await anyio.sleep(INTERVAL_S)
            ids = sorted(self._watched)
            try:
                states = await run_in_threadpool(self._poll, ids) if ids else {}
            except SQLAlchemyError:
                continue  # streams resume when the database is back; /health reports the outage
            except Exception:  # noqa: BLE001 - it would take down the whole service
                event("progress.failed", level=logging.ERROR, exc_info=True)
                continue
            if states != self.states:
                self.states = states
                self._wake()

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._wake()

    def watch(self, ids: Iterable[uuid.UUID]) -> None:
        """Watch these rows until `unwatch` has been called as often as `watch`."""
        self._watched.update(ids)

    def unwatch(self, ids: Iterable[uuid.UUID]) -> None:
        """Undo one `watch`."""
        self._watched.subtract(ids)
        self._watched = +self._watched  # drop rows without listeners

    def _wake(self) -> None:
        self.changed.set()
        self.changed = Event()

    def _poll(self, ids: list[uuid.UUID]) -> dict[uuid.UUID, AnalysisOut | None]:
        with self._database.reading() as session:
            revisions = analyses.revisions(session, analysis_ids=ids)
            known = self.states
            outdated = [
                key
                for key, revision in revisions.items()
                if revision is not None and _revision(known.get(key)) != revision
            ]
            rows = analyses.get_many(session, analysis_ids=outdated) if outdated else {}
            updated = {key: AnalysisOut.from_row(row) for key, row in rows.items()}
        return {
            key: None if revision is None else updated.get(key, known.get(key))
            for key, revision in revisions.items()
        }


def _revision(state: AnalysisOut | None) -> int:
    return -1 if state is None else state.revision
