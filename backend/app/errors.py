"""What can go wrong in a use-case, each with the HTTP status it deserves.

Services raise these; `app.api.problems` turns them into RFC 9457 replies. `status` and `title` have
no default: a new error must decide. 422 is kept for malformed payloads.
"""

from typing import ClassVar


class AppError(Exception):
    """Base of all expected errors. The message is written for the person who made the request."""

    status: ClassVar[int]
    title: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Refuse a child that forgets its status or title, at import."""
        super().__init_subclass__()
        for name in ("status", "title"):
            if not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} must define {name}")


class VideoNotFoundError(AppError):
    """No video has the id asked for."""

    status = 404
    title = "Video not found"


class AnalysisNotFoundError(AppError):
    """No analysis has the id asked for."""

    status = 404
    title = "Analysis not found"


class EventNotFoundError(AppError):
    """No event has the id asked for."""

    status = 404
    title = "Event not found"


class InvalidCursorError(AppError):
    """The cursor belongs to no page of this list."""

    status = 400
    title = "Invalid cursor"


class UnauthorizedError(AppError):
    """An API key is required, and none or a wrong one was given."""

    status = 401
    title = "API key required"


class ForbiddenImportError(AppError):
    """The operator does not allow imports from there."""

    status = 403
    title = "Import not allowed"


class ConflictError(AppError):
    """The analysis is not in a state that allows this."""

    status = 409
    title = "Not possible in this state"


class ImportFileError(AppError):
    """The file to import is not there, or cannot be opened."""

    status = 404
    title = "File not found"


class ImportFailedError(AppError):
    """The address to import from does not answer as it should."""

    status = 502
    title = "Import failed"


class InvalidUploadError(AppError):
    """The request is not a multipart form with one file in the field `file`."""

    status = 400
    title = "Invalid upload"


class UploadTimeoutError(AppError):
    """The client stopped sending."""

    status = 408
    title = "Upload timed out"


class UploadTooLargeError(AppError):
    """The file is larger than MAX_UPLOAD_BYTES."""

    status = 413
    title = "Upload too large"


class NotAVideoError(AppError):
    """ffprobe finds no video in the file."""

    status = 415
    title = "Not a video"


class StorageFullError(AppError):
    """The disk has no room for the upload."""

    status = 507
    title = "Storage full"


class UnavailableError(AppError):
    """The database or a program we need cannot be used right now."""

    status = 503
    title = "Temporarily unavailable"
