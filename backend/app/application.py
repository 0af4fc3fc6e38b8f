"""Puts the parts together: settings in, ASGI application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import OperationalError
from starlette.staticfiles import StaticFiles

from app import __version__, schema
from app.api import analyses, health, page, problems, videos
from app.api.context import Context
from app.api.middleware import RequestLog
from app.db import Database
from app.dispatch import CeleryDispatcher
from app.embedded import EmbeddedWorker
from app.jobs import AnalysisRunner
from app.logs import event
from app.services import videos as video_use
from app.services.storage import Storage
from app.settings import Settings

RETRY_S = 3.0


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

    async def keep_preparing() -> None:
        # Nobody signals that a database is back; asking again is all one can do.
        while not await run_in_threadpool(_prepared, settings, database, storage):  # noqa: ASYNC110
            await anyio.sleep(RETRY_S)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        storage.prepare()
        ready = await run_in_threadpool(_prepared, settings, database, storage)
        worker.start()
        event("service.started", version=__version__, worker=worker.name)
        try:
            async with anyio.create_task_group() as tasks:
                if not ready:
                    tasks.start_soon(keep_preparing)
                yield
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
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


def _prepared(settings: Settings, database: Database, storage: Storage) -> bool:
    """Migrate if allowed and clear up; False while the database does not answer."""
    try:
        with database.engine.connect() as connection:
            state = schema.migration_state(connection)
        if state.pending and not settings.auto_migrate:
            event("database.migrations_pending", level=30, current=state.current, head=state.head)
            return True
        if state.pending:
            schema.upgrade(settings.sqlalchemy_url())
            event("database.migrated", before=state.current, after=state.head)
        with database.reading() as session:
            swept = storage.sweep(exists=lambda found: video_use.exists(session, video_id=found))
    except OperationalError as error:
        # The server may come back; until then /health says what is missing.
        event("database.not_ready", level=40, cause=str(error.orig))
        return False
    if swept:
        event("storage.swept", files=swept)
    return True
