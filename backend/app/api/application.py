"""Assemble the ASGI application from the settings."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import InterfaceError, OperationalError

from app import __version__
from app.api import (
    analyses,
    auth,
    events,
    export,
    health,
    metrics,
    openapi,
    page,
    problems,
    progress,
    uploads,
    videos,
)
from app.api.clients import Shares
from app.api.conditional import Conditional
from app.api.deps import Context
from app.api.meter import RequestMeter
from app.api.middleware import BodyLimit, RequestLog
from app.api.monitor import Monitor
from app.api.origins import OriginCheck
from app.api.progress_hub import ProgressHub
from app.api.shutdown import on_stop_signal
from app.api.turns import Turns, share_threads
from app.connection import STATE, TIMEOUT, Connections, raise_descriptors
from app.db import Database
from app.logs import event
from app.services import schema
from app.services.fetch import FetchRules
from app.services.health import checks_of
from app.services.imports import ImportRules
from app.services.media import Media
from app.services.private import database_files, tighten
from app.services.quotas import Quotas
from app.services.readers import Readers
from app.services.retention import Policy, Retention
from app.services.sign_in import Admission, SignIn
from app.services.storage import Storage
from app.services.uploads import Uploads
from app.settings import Settings
from app.video import Limits, Tools
from app.worker.background import BackgroundThread
from app.worker.confine import log_isolation
from app.worker.dispatch import CeleryDispatcher
from app.worker.embedded import EmbeddedWorker
from app.worker.janitor import Janitor

if TYPE_CHECKING:
    from app.worker.deliverer import Deliverer

RETRY_S = 3.0
# ffmpeg uses every core; running more in parallel only slows each one down.
# Of the first number one client has at most the second: the rest is left for others.
PICTURES = 3, 2
CLIPS = 3, 2
# Slow requests get threads of their own, so that quick ones never wait for them.
INGESTS = 8, 6
IMPORTS = 4, 3
SIGN_INS = 4, 3
MEGA = 1_000_000


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Open, start and write nothing before the server's lifespan starts."""
    context = _context(settings)
    request_timeout = settings.request_timeout.total_seconds()
    background = _background(context)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        descriptors = raise_descriptors()
        connections = Connections(
            total=settings.max_connections,
            per_client=settings.max_client_connections,
            write_timeout=settings.response_idle_timeout.total_seconds(),
            descriptors=descriptors,
        )
        share_threads()

        def stop() -> None:
            loop.call_soon_threadsafe(context.progress.close)
            context.stopping.set()
            context.queue.request_stop()
            for thread in background:
                thread.request_stop()

        context.storage.prepare()
        for path in database_files(settings.sqlalchemy_url()):
            tighten(path)
        ready = await run_in_threadpool(_prepare_database, context)
        context.queue.start()
        for thread in background:
            thread.start()
        event(
            "service.started",
            version=__version__,
            worker=context.queue.name,
            connections=connections.total,
            descriptors=descriptors,
        )
        try:
            with on_stop_signal(stop):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(context.progress.run)
                    tasks.start_soon(run_in_threadpool, log_isolation)
                    if not ready:
                        tasks.start_soon(_retry_database, context)
                    yield {TIMEOUT: request_timeout, STATE: connections}
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(context.queue.stop)
                for thread in background:
                    await run_in_threadpool(thread.stop)
            context.database.close()
            event("service.stopped")

    app = FastAPI(
        title="Video events",
        version=__version__,
        summary="Stores videos and detects when and where something moves in them.",
        lifespan=lifespan,
        docs_url=None,  # it would load scripts from another host
        redoc_url=None,
        openapi_url=None,  # app.api.openapi serves it
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    app.add_middleware(BodyLimit, timeout=request_timeout)
    app.add_middleware(Conditional)
    app.add_middleware(Shares, per_client=settings.max_client_connections)
    app.add_middleware(
        OriginCheck,
        allowed_hosts=_allowed_hosts(settings),
        open_to_all=settings.requires_authentication(),
    )
    app.add_middleware(RequestLog, meter=context.meter)
    problems.install(app)
    openapi.install(
        app,
        keys_required=settings.requires_authentication(),
        captions=settings.captions,
        sign_in=settings.signs_in(),
    )
    _include_routes(app, context)
    return app


def _include_routes(app: FastAPI, context: Context) -> None:
    for part in (health, metrics, page, auth, videos, uploads, progress, analyses, export, events):
        app.include_router(part.router)
    # Each module builds its routes when it is imported: features that are off cost no time.
    if context.sign_in is not None:
        from app.api import sign_in

        app.include_router(sign_in.router)
    if context.retention.policy.enabled:
        from app.api import retention

        app.include_router(retention.router)
    if context.deliverer is not None:
        from app.api import webhook_messages, webhooks

        app.include_router(webhooks.router)
        app.webhooks.include_router(webhook_messages.router)
    app.mount("/static", page.PageFiles())


def _background(context: Context) -> list[BackgroundThread]:
    """Return what this process does beside answering requests and running analyses."""
    janitor = Janitor(
        database=context.database,
        storage=context.storage,
        uploads=context.uploads,
        retention=context.retention if context.retention.policy.enabled else None,
    )
    threads: list[BackgroundThread] = [janitor]
    settings = context.settings
    if settings.gemini_api_key is not None:
        from app.services.gemini import GeminiRules
        from app.worker.captions import Captioner

        rules = GeminiRules(
            url=settings.gemini_url,
            model=settings.gemini_model,
            key=settings.gemini_api_key.get_secret_value(),
            timeout=settings.gemini_timeout.total_seconds(),
        )
        captioner = Captioner(
            database=context.database,
            media=context.media,
            rules=rules,
            daily_requests=settings.gemini_daily_requests,
        )
        threads.append(captioner)
    if context.deliverer is not None:
        threads.append(context.deliverer)
    return threads


def _context(settings: Settings) -> Context:
    database = Database(settings.sqlalchemy_url())
    storage = Storage(settings.data_dir)
    tools = Tools(ffmpeg=settings.ffmpeg, ffprobe=settings.ffprobe)
    policy = Policy(
        age=settings.retention_age,
        bytes=None if settings.retention_bytes is None else int(settings.retention_bytes),
    )
    readers = Readers(storage, enabled=policy.enabled)
    broker_url = settings.broker()
    queue: EmbeddedWorker | CeleryDispatcher
    if broker_url is None:
        queue = EmbeddedWorker(settings=settings, database=database, storage=storage)
    else:
        queue = CeleryDispatcher(
            broker_url=broker_url,
            database=database,
            analysis_timeout=settings.analysis_timeout.total_seconds(),
        )
    return Context(
        settings=settings,
        database=database,
        storage=storage,
        uploads=Uploads(
            storage,
            lifetime=settings.upload_lifetime.total_seconds(),
            per_client=settings.max_unfinished_uploads,
        ),
        queue=queue,
        tools=tools,
        media=Media(
            database=database,
            storage=storage,
            tools=tools,
            cache_bytes=int(settings.cache_bytes),
            picture_limits=Limits(work=settings.picture_megapixels * MEGA),
            clip_limits=Limits(work=settings.clip_megapixels * MEGA),
        ),
        readers=readers,
        retention=Retention(database=database, storage=storage, readers=readers, policy=policy),
        picture_limiter=Turns(PICTURES[0], each=PICTURES[1]),
        clip_limiter=Turns(CLIPS[0], each=CLIPS[1]),
        ingest_limiter=Turns(INGESTS[0], each=INGESTS[1]),
        import_limiter=Turns(IMPORTS[0], each=IMPORTS[1]),
        sign_in_limiter=Turns(SIGN_INS[0], each=SIGN_INS[1]),
        sign_in=_sign_in(settings),
        import_rules=ImportRules(
            directory=settings.import_dir,
            fetch=FetchRules(
                hosts=settings.import_hosts,
                private_addresses=settings.import_private_addresses,
                timeout=settings.import_timeout.total_seconds(),
            ),
            limit=int(settings.max_upload_bytes),
        ),
        quotas=Quotas(
            bytes=None if settings.key_bytes is None else int(settings.key_bytes),
            jobs=settings.key_jobs,
        ),
        stopping=threading.Event(),
        progress=ProgressHub(database),
        meter=RequestMeter(),
        monitor=Monitor(checks_of(database=database, storage=storage, queue=queue)),
        deliverer=_deliverer(settings, database) if settings.webhook_hosts else None,
    )


def _deliverer(settings: Settings, database: Database) -> "Deliverer":
    from app.services.sending import Sender
    from app.services.signing import SigningKey
    from app.worker.deliverer import Deliverer

    timeout = settings.webhook_timeout.total_seconds()
    rules = FetchRules(
        hosts=settings.webhook_hosts,
        private_addresses=settings.webhook_private_addresses,
        timeout=timeout,
        settings="WEBHOOK",
        tls=True,
        idle=timeout,
    )
    sender = Sender(SigningKey(settings.data_dir), rules, agent=f"video-events/{__version__}")
    return Deliverer(database=database, sender=sender)


def _sign_in(settings: Settings) -> SignIn | None:
    if not settings.signs_in():
        return None
    from app.api import sign_in
    from app.services import oidc  # Authlib takes 0.1 s, which others need not spend

    assert settings.google_client_id is not None  # noqa: S101 - Settings has checked these
    assert settings.google_client_secret is not None  # noqa: S101 - same
    assert settings.public_url is not None  # noqa: S101 - same
    provider = oidc.Provider(
        issuer=settings.google_issuer,
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret.get_secret_value(),
        redirect_uri=settings.public_url + sign_in.CALLBACK,
    )
    return SignIn(
        provider=provider,
        admission=Admission(readers=settings.google_readers, editors=settings.google_editors),
        url=settings.public_url + sign_in.PREFIX,
    )


def _allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """Return ALLOWED_HOSTS with the host of PUBLIC_URL; empty if any host may be allowed."""
    if settings.public_url is None or (
        settings.requires_authentication() and not settings.allowed_hosts
    ):
        return settings.allowed_hosts
    return (*settings.allowed_hosts, urlsplit(settings.public_url).hostname or "")


async def _retry_database(context: Context) -> None:
    # Nothing signals that a database is back, so poll.
    while not await run_in_threadpool(_prepare_database, context):  # noqa: ASYNC110 - see above
        await anyio.sleep(RETRY_S)


def _prepare_database(context: Context) -> bool:
    """Migrate if AUTO_MIGRATE allows it; return False while the database is unreachable."""
    try:
        with context.database.engine.connect() as connection:
            state = schema.migration_state(connection)
        if state.pending and not context.settings.auto_migrate:
            event(
                "database.migrations_pending",
                level=logging.WARNING,
                current=state.current,
                head=state.head,
            )
        elif state.pending:
            schema.upgrade(context.settings.sqlalchemy_url())
            event("database.migrated", before=state.current, after=state.head)
    except (OperationalError, InterfaceError) as error:
        # The server may come back; until then /health reports what is wrong.
        event("database.not_ready", level=logging.ERROR, cause=str(error.orig))
        return False
    return True
