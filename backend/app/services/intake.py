"""Takes a complete upload in: is it new, is it a video, keep it.

The order makes a crash harmless at every point: the file gets its name before the row is committed,
so a row always has its file; a file whose row never came is still marked, and swept later.
"""

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from app.db import Database
from app.errors import NotAVideoError, UnavailableError
from app.models import Analysis
from app.services import parameters, videos
from app.services.storage import Storage
from app.services.videos import VideoState
from app.video import Parameters, Tools, probe
from app.video.errors import ToolError, VideoError


def take_in(
    database: Database, *, storage: Storage, upload: videos.Upload, tools: Tools, analyse: bool
) -> tuple[VideoState, bool]:
    """Return the video and whether it is new; if it is and `analyse`, an analysis is queued.

    Opens its own transactions, because ffprobe must not run inside one. Raises NotAVideoError or
    UnavailableError.
    """
    known = _known(database, sha256=upload.sha256)
    if known is not None:
        return known, False
    try:
        facts = probe(upload.path, tools=tools)
    except ToolError as error:
        raise UnavailableError("Videos cannot be examined at the moment; try again.") from error
    except VideoError as error:
        raise NotAVideoError(f"{videos.display_name(upload.filename)!r}: {error}.") from error
    video = None
    try:
        with database.writing() as session:
            video = videos.register(session, upload=upload, facts=facts)
            analysis = None
            if analyse:
                stored = parameters.to_json(Parameters())
                analysis = Analysis(video_id=video.id, parameters=stored)
                session.add(analysis)
                session.flush()
            storage.keep(upload.path, video_id=video.id)
    except IntegrityError:  # registered by another request since we looked
        known = _known(database, sha256=upload.sha256)
        if known is None:
            raise
        return known, False
    except (OperationalError, InterfaceError):
        # Nobody can tell whether the commit was done. The mark stays, and a later sweep asks.
        raise
    except BaseException:
        if video is not None:
            storage.delete(video.id)
        raise
    storage.settle(video.id)
    return VideoState(video, analysis), True


def _known(database: Database, *, sha256: str) -> VideoState | None:
    with database.reading() as session:
        return videos.find_duplicate(session, sha256=sha256)
