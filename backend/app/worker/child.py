"""The process that runs analyses for `app.worker.embedded`, which calls `main` in it.

It is controlled through standard input: the first line holds its `RunnerConfig`, each further line
means there may be new work, and end of file means the service has stopped or died; the child then
hands back its current analysis. It exits after a while without work, which frees its memory.
"""

import gc
import logging
import signal
import sys
import threading
import time

from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.logs import configure_logging, event
from app.models.base import utc_now
from app.sandbox import system
from app.services import leases
from app.services.storage import Storage
from app.worker.config import RunnerConfig
from app.worker.confine import confine
from app.worker.runner import AnalysisRunner

IDLE_S = 30.0
POLL_S = 2.0


def main() -> None:
    """Run analyses until there are none left or the service is gone."""
    gc.freeze()
    gc.enable()
    system.set_memory_hidden(True)
    config = RunnerConfig.from_json(sys.stdin.readline())
    configure_logging(config.log_level)
    confine(memory=config.analysis_memory)
    stopping, notified = threading.Event(), threading.Event()

    def listen() -> None:
        for _ in sys.stdin:
            notified.set()
        stopping.set()
        notified.set()

    # Ctrl-C in a terminal reaches parent and child; let the parent decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=listen, name="listen", daemon=True).start()
    database = Database(config.database_url)
    runner = AnalysisRunner(config=config, database=database, storage=Storage(config.data_dir))
    try:
        work(database, runner, stopping=stopping, notified=notified)
    finally:
        database.close()


def work(
    database: Database,
    runner: AnalysisRunner,
    *,
    stopping: threading.Event,
    notified: threading.Event,
) -> None:
    """Run queued analyses until `stopping` is set or there has been no work for IDLE_S."""
    last = time.monotonic()
    while not stopping.is_set():
        notified.clear()
        try:
            with database.reading() as session:
                analysis_id = leases.next_claimable(session, now=utc_now())
            if analysis_id is not None:
                runner.run(analysis_id, stopping=stopping.is_set)
                last = time.monotonic()
                continue
        except DBAPIError as error:
            event("worker.database_failed", level=logging.WARNING, cause=type(error).__name__)
        if time.monotonic() - last > IDLE_S:
            return
        notified.wait(POLL_S)
