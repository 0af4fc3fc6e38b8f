"""Puts the parts together: settings in, ASGI application out."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.staticfiles import StaticFiles

from app import __version__, schema
from app.api import (
    access,
    analyses,
    events,
    health,
    metrics,
    openapi,
    page,
    problems,
    progress,
    videos,
)
from app.api.context import Context
from app.api.middleware import BodyLimit, RequestLog
from app.connection import TIMEOUT
from app.db import Database
from app.dispatch import CeleryDispatcher
from app.embedded import EmbeddedWorker
from app.janitor import Janitor
from app.logs import event
from app.services.fetch import FetchRules
from app.services.imports import ImportRules
from app.services.media import Media
from app.services.storage import Storage
from app.settings import Settings
from app.shutdown import told_at_once
from app.video import Tools

RETRY_S = 3.0
# ffmpeg uses every core it gets; more at once only make each other slow.
MEDIA_AT_ONCE = 2
# Threads beside those that answer quick requests, so that these never wait for a slow one.
INTAKES_AT_ONCE = 8
IMPORTS_AT_ONCE = 4


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Nothing is opened, started or written before the server starts it."""
    context = _context(settings)
    request_timeout = settings.request_timeout.total_seconds()
    janitor = Janitor(database=context.database, storage=context.storage)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, float]]:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(context.progress.close)
            context.stopping.set()
            context.queue.ask_to_stop()

        context.storage.prepare()
        ready = await run_in_threadpool(_prepared, context)
        context.queue.start()
        janitor.start()
        event("service.started", version=__version__, worker=context.queue.name)
        try:
            with told_at_once(stop):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(context.progress.run)
                    if not ready:
                        tasks.start_soon(_keep_preparing, context)
                    yield {TIMEOUT: request_timeout}
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(context.queue.stop)
                await run_in_threadpool(janitor.stop)
            context.database.close()
            event("service.stopped")

    app = FastAPI(
        title="Video events",
        version=__version__,
        summary="Takes videos in and tells what is in them and when something moves.",
        lifespan=lifespan,
        docs_url=None,  # the page behind it would load scripts from another host
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    app.add_middleware(BodyLimit, timeout=request_timeout)
    app.add_middleware(RequestLog, meter=context.meter)
    problems.install(app)
    openapi.install(app, keys_required=settings.require_api_key)
    for part in (health, metrics, page, access, videos, progress, analyses, events):
        app.include_router(part.router)
    # Build tools lay files out as links; the folder is ours, so following them is safe.
    files = StaticFiles(directory=Path(page.__file__).parent / "static", follow_symlink=True)
    app.mount("/static", files)
    return app


def _context(settings: Settings) -> Context:
    database = Database(settings.sqlalchemy_url())
    storage = Storage(settings.data_dir)
    tools = Tools(ffmpeg=settings.ffmpeg, ffprobe=settings.ffprobe)
    broker_url = settings.broker()
    queue: EmbeddedWorker | CeleryDispatcher
    if broker_url is None:
        queue = EmbeddedWorker(settings=settings, database=database, storage=storage)
    else:
        longest = settings.analysis_timeout.total_seconds()
        queue = CeleryDispatcher(broker_url=broker_url, database=database, longest=longest)
    return Context(
        settings=settings,
        database=database,
        storage=storage,
        queue=queue,
        tools=tools,
        media=Media(
            database=database,
            storage=storage,
            tools=tools,
            cache_bytes=int(settings.cache_bytes),
        ),
        media_limiter=CapacityLimiter(MEDIA_AT_ONCE),
        intake_limiter=CapacityLimiter(INTAKES_AT_ONCE),
        import_limiter=CapacityLimiter(IMPORTS_AT_ONCE),
        import_rules=ImportRules(
            directory=settings.import_dir,
            fetching=FetchRules(
                hosts=settings.import_hosts,
                private_addresses=settings.import_private_addresses,
                timeout=settings.import_timeout.total_seconds(),
            ),
            limit=int(settings.max_upload_bytes),
        ),
        stopping=threading.Event(),
        progress=progress.ProgressHub(database),
        meter=metrics.RequestMeter(),
    )


async def _keep_preparing(context: Context) -> None:
    # Nobody signals that a database is back; asking again is all one can do.
    while not await run_in_threadpool(_prepared, context):  # noqa: ASYNC110
        await anyio.sleep(RETRY_S)


def _prepared(context: Context) -> bool:
    """Migrate if allowed; False while the database does not answer."""
    try:
        with context.database.engine.connect() as connection:
            state = schema.migration_state(connection)
        if state.pending and not context.settings.auto_migrate:
            event("database.migrations_pending", level=30, current=state.current, head=state.head)
        elif state.pending:
            schema.upgrade(context.settings.sqlalchemy_url())
            event("database.migrated", before=state.current, after=state.head)
    except (OperationalError, InterfaceError) as error:
        # The server may come back; until then /health says what is missing.
        event("database.not_ready", level=40, cause=str(error.orig))
        return False
    return True
