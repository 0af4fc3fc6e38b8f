"""The process that carries out analyses for `app.embedded`: `python3 -m app.embedded_child`.

Its standard input tells it everything: the first line is the settings, each further line means that
there may be work, and the end of it that the service has stopped or died. It then hands back what
it is doing. Without work for a while it ends, and gives its memory back.
"""

import signal
import sys
import threading
import time

from sqlalchemy.exc import DBAPIError

from app.confine import confine
from app.db import Database
from app.jobs import AnalysisRunner
from app.logs import configure_logging, event
from app.models.base import utc_now
from app.services import leases
from app.services.storage import Storage
from app.settings import Settings

IDLE_S = 30.0
POLL_S = 2.0


def main() -> None:
    """Work until there is nothing more to do or nobody to do it for."""
    settings = Settings.from_json(sys.stdin.readline())
    configure_logging(settings.log_level)
    confine(memory=int(settings.analysis_memory))
    stopping, poked = threading.Event(), threading.Event()

    def listen() -> None:
        for _ in sys.stdin:
            poked.set()
        stopping.set()
        poked.set()

    # Ctrl-C in a terminal reaches parent and child; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=listen, name="listen", daemon=True).start()
    database = Database(settings.sqlalchemy_url())
    runner = AnalysisRunner(
        settings=settings, database=database, storage=Storage(settings.data_dir)
    )
    try:
        work(database, runner, stopping=stopping, poked=poked)
    finally:
        database.close()


def work(
    database: Database,
    runner: AnalysisRunner,
    *,
    stopping: threading.Event,
    poked: threading.Event,
) -> None:
    """Carry out whatever waits, until `stopping` is set or nothing has come for IDLE_S."""
    last = time.monotonic()
    while not stopping.is_set():
        poked.clear()
        try:
            with database.reading() as session:
                analysis_id = leases.next_free(session, now=utc_now())
            if analysis_id is not None:
                runner.run(analysis_id, stopping=stopping.is_set)
                last = time.monotonic()
                continue
        except DBAPIError as error:
            event("worker.database_away", level=30, cause=type(error).__name__)
        if time.monotonic() - last > IDLE_S:
            return
        poked.wait(POLL_S)


if __name__ == "__main__":
    main()
