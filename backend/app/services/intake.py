"""Takes a complete upload in: is it new, is it a video, keep it.

The order makes a crash harmless at every point: the file gets its name before the row is committed,
so a row always has its file; a file whose row never came is still marked, and swept later.
"""

from sqlalchemy.exc import IntegrityError

from app.db import Database
from app.errors import NotAVideoError, UnavailableError
from app.models import Video
from app.services import videos
from app.services.storage import Storage
from app.video.errors import (
    NoVideoStreamError,
    ToolError,
    UnreadableVideoError,
    VideoTooBigError,
)
from app.video.options import Tools
from app.video.probe import probe


def take_in(
    database: Database, *, storage: Storage, upload: videos.Upload, ffprobe: str
) -> tuple[Video, bool]:
    """Return the video and whether it is new. Raises NotAVideoError or UnavailableError.

    Opens its own transactions, because ffprobe must not run inside one.
    """
    known = _known(database, sha256=upload.sha256)
    if known is not None:
        return known, False
    try:
        container = probe(upload.path, tools=Tools(ffprobe=ffprobe)).container
    except (UnreadableVideoError, NoVideoStreamError, VideoTooBigError) as error:
        raise NotAVideoError(f"{videos.display_name(upload.filename)!r}: {error}.") from error
    except ToolError as error:
        raise UnavailableError("Videos cannot be examined at the moment; try again.") from error
    video = None
    try:
        with database.writing() as session:
            video = videos.register(session, upload=upload, container=container)
            storage.keep(upload.path, video_id=video.id)
    except IntegrityError:  # registered by another request since we looked
        known = _known(database, sha256=upload.sha256)
        if known is None:
            raise
        return known, False
    except BaseException:
        if video is not None:
            storage.delete(video.id)
        raise
    storage.settle(video.id)
    return video, True


def _known(database: Database, *, sha256: str) -> Video | None:
    with database.reading() as session:
        return videos.find_duplicate(session, sha256=sha256)
