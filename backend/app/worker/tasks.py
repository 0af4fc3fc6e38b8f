"""The Celery worker: `celery -A app.worker worker`.

It uses the same image and settings as the API. The task takes an id and nothing else, and is safe
to deliver twice. On SIGTERM a running analysis is handed back: the row immediately, and the message
with it. Whatever happens, the worker has ended STOP_TIMEOUT_S later.
"""

import faulthandler
import logging
import mmap
import os
import time
import uuid
from functools import lru_cache
from typing import Any

from celery import Celery, signals
from celery.exceptions import Reject
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.logs import configure_logging, event
from app.sandbox import system
from app.services.private import keep_new_files_private
from app.services.storage import Storage, StorageUnusableError
from app.settings import Settings, SettingsError, load_settings
from app.worker.background import STOP_TIMEOUT_S
from app.worker.broker import TASK, make_celery
from app.worker.config import RunnerConfig
from app.worker.confine import confine, log_isolation
from app.worker.runner import AnalysisRunner, Outcome

# Delay before a message is requeued while the database is down.
DATABASE_PAUSE_S = 2.0
STDERR = 2  # not sys.stderr, for which Celery puts a logger


@lru_cache(maxsize=1)
def celery_application() -> Celery:
    """Build the Celery application from the environment; exit with a message if it is wrong."""
    keep_new_files_private()
    system.set_memory_hidden(True)
    try:
        return create_celery(load_settings())
    except SettingsError as error:
        raise SystemExit(f"worker: {error}") from None


def create_celery(settings: Settings) -> Celery:
    """Build the Celery application. Raise SettingsError if no broker is configured."""
    broker_url = settings.broker()
    if broker_url is None:
        raise SettingsError(
            "REDIS_URL is not set, and neither is BROKER_URL: the worker has no broker to take "
            "tasks from. Without a broker the API runs analyses itself; to use Celery, set "
            "BROKER_URL for both the API and the worker."
        )
    application = make_celery(
        broker_url, analysis_timeout=settings.analysis_timeout.total_seconds()
    )
    application.conf.worker_pool = "app.worker.pool:TaskPool"
    # One byte that the pool's processes share, because it is mapped before they are forked. A lock
    # could be held forever, by a process that was killed or by a handler that was interrupted.
    stopping = mmap.mmap(-1, 1)

    @lru_cache(maxsize=1)
    def runner() -> AnalysisRunner:
        # Built on first use in the child process: connections must not be shared across a fork.
        config = RunnerConfig.from_settings(settings)
        return AnalysisRunner(
            config=config,
            database=Database(config.database_url),
            storage=Storage(config.data_dir),
        )

    @application.task(name=TASK)
    def run_analysis(analysis_id: str) -> str:
        try:
            outcome = runner().run_next(uuid.UUID(analysis_id), stopping=lambda: stopping[0] == 1)
        except SQLAlchemyError as error:
            event("worker.database_failed", level=logging.WARNING, cause=type(error).__name__)
            time.sleep(DATABASE_PAUSE_S)
            raise Reject(reason="the database is unavailable", requeue=True) from error
        if outcome is Outcome.HANDED_BACK:
            raise Reject(reason="the worker is shutting down", requeue=True)
        return outcome.value

    # `weak=False`: nothing else holds a reference to these functions.
    @signals.worker_init.connect(weak=False)
    def _initialise(sender: Any, **_: Any) -> None:
        _prepare_storage(settings)  # not earlier: `celery inspect` has no use for the files
        # While the broker is away, the event loop would wait in the heartbeat, and not stop. These
        # events are for monitors and other workers, and we use neither.
        sender.options |= {
            "without_heartbeat": True,
            "without_gossip": True,
            "without_mingle": True,
        }

    @signals.worker_ready.connect(weak=False)
    def _log_isolation(**_: Any) -> None:
        log_isolation()

    @signals.setup_logging.connect(weak=False)
    def _configure_logging(**_: Any) -> None:
        configure_logging(settings.log_level)

    @signals.worker_process_init.connect(weak=False)
    def _confine(**_: Any) -> None:
        confine(memory=int(settings.analysis_memory))

    @signals.worker_shutting_down.connect(weak=False)
    def _hand_back(**_: Any) -> None:
        # Also in a signal handler, so without locks.
        if stopping[0] == 0:
            stopping[0] = 1
            # Celery waits without limit, for example for a broker that does not answer. This ends
            # the worker, and prints where it was; the kernel then kills the pool's processes.
            faulthandler.dump_traceback_later(STOP_TIMEOUT_S, exit=True, file=STDERR)

    @signals.worker_shutdown.connect(weak=False)
    def _exit(sender: Any, **_: Any) -> None:
        # Everything is closed. To free a worker's modules would take longer than all of this.
        logging.shutdown()
        os._exit(sender.exitcode or 0)

    return application


def _prepare_storage(settings: Settings) -> None:
    """Exit with a message if DATA_DIR is not writable."""
    try:
        Storage(settings.data_dir).prepare()
    except StorageUnusableError as error:
        raise SystemExit(f"worker: {error}") from None
