"""Ingest a complete upload: detect duplicates, probe it, store it.

The order makes a crash harmless at every point. The file is in place before its row is committed,
so a row always has its file; a file whose row was never committed is still marked, and swept later.
"""

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from app.db import Database
from app.errors import NotAVideoError, UnavailableError, VideoNotFoundError
from app.models import Analysis
from app.services import analyses, parameters, videos
from app.services import quotas as quotas_of
from app.services.quotas import UNLIMITED, Quotas
from app.services.storage import Storage
from app.services.videos import VideoState
from app.video import Parameters, Tools, probe
from app.video.errors import ToolError, VideoError


def ingest(
    database: Database,
    *,
    storage: Storage,
    upload: videos.Upload,
    tools: Tools,
    analyse: bool,
    quotas: Quotas = UNLIMITED,
) -> tuple[VideoState, bool]:
    """Store an upload; return the video and whether it is new.

    If `analyse` is true and the video has no analysis, queue one. Use transactions of its own,
    because ffprobe must not run inside one. Raise NotAVideoError, UnavailableError, QuotaError or
    TooManyRequestsError.
    """
    duplicate = _find_duplicate(database, upload=upload, analyse=analyse, quotas=quotas)
    if duplicate is not None:
        return duplicate, False
    try:
        facts = probe(upload.path, tools=tools)
    except ToolError as error:
        raise UnavailableError("Videos cannot be probed right now; try again.") from error
    except VideoError as error:
        name = videos.display_name(upload.filename)
        raise NotAVideoError(f"{name!r}: {error}.", log=error.log) from error
    video = None
    try:
        with database.writing() as session:
            client = upload.client or ""
            quotas_of.check_bytes(session, client=client, size=upload.size, quotas=quotas)
            if analyse:
                quotas_of.check_jobs(session, client=client, quotas=quotas)
            video = videos.register(session, upload=upload, facts=facts)
            analysis = None
            if analyse:
                stored = parameters.to_json(Parameters())
                analysis = Analysis(video_id=video.id, parameters=stored, client=upload.client)
                session.add(analysis)
                session.flush()
            storage.keep(upload.path, video_id=video.id)
    except IntegrityError:  # registered by another request in the meantime
        duplicate = _find_duplicate(database, upload=upload, analyse=analyse, quotas=quotas)
        if duplicate is None:
            raise
        return duplicate, False
    except (OperationalError, InterfaceError):
        # The commit may or may not have happened. Keep the mark; a later sweep asks the database.
        raise
    except BaseException:
        if video is not None:
            storage.delete(video.id)
        raise
    storage.unmark(video.id)
    return VideoState(video, analysis), True


def _find_duplicate(
    database: Database, *, upload: videos.Upload, analyse: bool, quotas: Quotas
) -> VideoState | None:
    with database.reading() as session:
        found = videos.find_duplicate(session, sha256=upload.sha256)
    if found is None or found.analysis is not None or not analyse:
        return found
    try:
        with database.writing() as session:
            analysis, _ = analyses.request(
                session,
                video_id=found.video.id,
                parameters=Parameters(),
                client=upload.client,
                quotas=quotas,
            )
    except VideoNotFoundError:  # deleted in the meantime
        return None
    return VideoState(found.video, analysis)
