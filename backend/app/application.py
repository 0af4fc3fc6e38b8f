"""Puts the parts together: settings in, ASGI application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import OperationalError
from starlette.staticfiles import StaticFiles

from app import __version__, schema
from app.api import analyses, health, page, problems, videos
from app.api.context import Context
from app.api.middleware import RequestLog
from app.background import BackgroundThread
from app.db import Database
from app.dispatch import CeleryDispatcher
from app.embedded import EmbeddedWorker
from app.jobs import AnalysisRunner
from app.logs import event
from app.services import videos as videos_service
from app.services.storage import Storage
from app.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Nothing is opened, started or written before the server starts it."""
    database = Database(settings.sqlalchemy_url())
    storage = Storage(settings.data_dir)
    broker_url = settings.broker_url()
    worker: EmbeddedWorker | CeleryDispatcher
    if broker_url is None:
        runner = AnalysisRunner(settings=settings, database=database, storage=storage)
        worker = EmbeddedWorker(runner=runner, database=database, storage=storage)
    else:
        worker = CeleryDispatcher(broker_url=broker_url, database=database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_start, settings, database, storage, worker)
        try:
            yield
        finally:
            await run_in_threadpool(worker.stop)
            database.close()
            event("service.stopped")

    app = FastAPI(
        title="Video events",
        version=__version__,
        summary="Takes videos in and tells what is in them and when something moves.",
        lifespan=lifespan,
        docs_url=None,  # the page behind it would load scripts from another host
        redoc_url=None,
        responses={"default": problems.DOCUMENTED},
    )
    app.state.context = Context(settings=settings, database=database, storage=storage, queue=worker)
    app.add_middleware(RequestLog)
    problems.install(app)
    for router in (health.router, page.router, videos.router, analyses.router):
        app.include_router(router)
    # Build tools lay files out as links; the folder is ours, so following them is safe.
    files = StaticFiles(directory=Path(page.__file__).parent / "static", follow_symlink=True)
    app.mount("/static", files)
    return app


def _start(
    settings: Settings, database: Database, storage: Storage, worker: BackgroundThread
) -> None:
    storage.prepare()
    try:
        if _schema_is_ready(settings, database):
            _sweep(database, storage)
    except OperationalError:
        # The server may come back; until then /health says what is missing.
        event("database.not_ready", level=40, exc_info=True)
    worker.start()
    event("service.started", version=__version__, worker=worker.name)


def _schema_is_ready(settings: Settings, database: Database) -> bool:
    with database.engine.connect() as connection:
        state = schema.migration_state(connection)
    if state.pending and settings.auto_migrate:
        schema.upgrade(settings.sqlalchemy_url())
        event("database.migrated", before=state.current, after=state.head)
        return True
    if state.pending:
        event("database.migrations_pending", level=30, current=state.current, head=state.head)
    return not state.pending


def _sweep(database: Database, storage: Storage) -> None:
    with database.reading() as session:
        swept = storage.sweep(known=videos_service.known_ids(session))
    if swept:
        event("storage.swept", files=swept)
