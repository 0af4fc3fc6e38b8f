"""The Celery worker: `celery -A app.worker worker`, and `celery -A app.worker inspect ping`.

Runs from the same image and settings as the API. The task takes an id, nothing else, and is safe to
deliver twice.
"""

import uuid
from functools import lru_cache
from typing import Any

from celery import Celery, signals

from app.celery_app import TASK, make_celery
from app.db import Database
from app.jobs import AnalysisRunner
from app.logs import configure_logging
from app.services.storage import Storage
from app.settings import Settings, SettingsError, load_settings


def _create(settings: Settings) -> Celery:
    broker_url = settings.broker_url()
    if broker_url is None:
        raise SettingsError(
            "REDIS_URL is not set: there is no broker to take tasks from. Without it the API works "
            "on them itself; set it for both to use Celery."
        )
    application = make_celery(broker_url)
    # The lease and the analysis's own limit act first; this ends a process that hangs in C code.
    application.conf.task_time_limit = settings.analysis_timeout.total_seconds() + 60

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
        return runner().run(uuid.UUID(analysis_id), stopping=lambda: False).value

    # `weak=False`: nobody else keeps the function alive.
    @signals.setup_logging.connect(weak=False)
    def _logging(**_: Any) -> None:
        configure_logging(settings.log_level)

    return application


try:
    celery = _create(load_settings())
except SettingsError as error:
    raise SystemExit(f"worker: {error}") from None
