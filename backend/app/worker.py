"""The Celery worker: `celery -A app.worker worker`, and `celery -A app.worker inspect ping`.

Runs from the same image and settings as the API. The task takes an id, nothing else, and is safe to
deliver twice. On SIGTERM a running analysis is handed back: its row at once, its message with it.
"""

import multiprocessing
import time
import uuid
from functools import lru_cache
from typing import Any

from celery import Celery, signals
from celery.exceptions import Reject
from sqlalchemy.exc import SQLAlchemyError

from app.celery_app import TASK, make_celery
from app.confine import confine
from app.db import Database
from app.jobs import AnalysisRunner, Outcome
from app.logs import configure_logging, event
from app.services.storage import Storage
from app.settings import Settings, SettingsError, load_settings

# How long a message is kept from going round while the database is away.
DATABASE_PAUSE_S = 2.0


def _create(settings: Settings) -> Celery:
    broker_url = settings.broker()
    if broker_url is None:
        raise SettingsError(
            "REDIS_URL is not set, nor is BROKER_URL: there is no broker to take tasks from. "
            "Without one the service carries out analyses itself; set it for both to use Celery."
        )
    application = make_celery(broker_url, longest=settings.analysis_timeout.total_seconds())
    # Made before the pool forks, so that its children see what the parent sets.
    stopping = multiprocessing.get_context("fork").Event()

    @lru_cache(maxsize=1)
    def runner() -> AnalysisRunner:
        # Built in the child process, on first use: connections must not cross a fork.
        storage = Storage(settings.data_dir)
        storage.prepare()
        return AnalysisRunner(
            settings=settings, database=Database(settings.sqlalchemy_url()), storage=storage
        )

    @application.task(name=TASK)
    def run_analysis(analysis_id: str) -> str:
        try:
            outcome = runner().run(uuid.UUID(analysis_id), stopping=stopping.is_set)
        except SQLAlchemyError as error:
            event("worker.database_away", level=30, cause=type(error).__name__)
            time.sleep(DATABASE_PAUSE_S)
            raise Reject(reason="the database is away", requeue=True) from error
        if outcome is Outcome.HANDED_BACK:
            raise Reject(reason="this worker is stopping", requeue=True)
        return outcome.value

    # `weak=False`: nobody else keeps the functions alive.
    @signals.setup_logging.connect(weak=False)
    def _logging(**_: Any) -> None:
        configure_logging(settings.log_level)

    @signals.worker_process_init.connect(weak=False)
    def _confined(**_: Any) -> None:
        confine(memory=int(settings.analysis_memory))

    @signals.worker_shutting_down.connect(weak=False)
    def _hand_back(**_: Any) -> None:
        stopping.set()

    return application


try:
    celery = _create(load_settings())
except SettingsError as error:
    raise SystemExit(f"worker: {error}") from None
