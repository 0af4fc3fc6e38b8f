"""Errors of the use cases, each with its HTTP status.

Services raise these; `app.api.problems` turns them into RFC 9457 responses. `status` and `title`
have no default, so every new error must choose. 422 is reserved for malformed payloads.
"""

from typing import ClassVar


class AppError(Exception):
    """Base of all expected errors. The message is shown to the client."""

    status: ClassVar[int]
    title: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Raise TypeError at import if a subclass does not define its status or title."""
        super().__init_subclass__()
        for name in ("status", "title"):
            if not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} must define {name}")


class VideoNotFoundError(AppError):
    """No video has the requested id."""

    status = 404
    title = "Video not found"


class AnalysisNotFoundError(AppError):
    """No analysis has the requested id."""

    status = 404
    title = "Analysis not found"


class EventNotFoundError(AppError):
    """No event has the requested id."""

    status = 404
    title = "Event not found"


class InvalidCursorError(AppError):
    """The cursor does not belong to the list."""

    status = 400
    title = "Invalid cursor"


class UnauthorizedError(AppError):
    """An API key is required, and it is missing or invalid."""

    status = 401
    title = "API key required"


class ForbiddenImportError(AppError):
    """The operator does not allow imports from this source."""

    status = 403
    title = "Import not allowed"


class ConflictError(AppError):
    """The resource's state does not allow the operation."""

    status = 409
    title = "Not possible in this state"


class ImportFileError(AppError):
    """The file to import does not exist or cannot be opened."""

    status = 404
    title = "File not found"


class ImportFailedError(AppError):
    """Fetching the URL to import failed."""

    status = 502
    title = "Import failed"


class InvalidUploadError(AppError):
    """The request is not a multipart form with one file in the field `file`."""

    status = 400
    title = "Invalid upload"


class UploadTimeoutError(AppError):
    """The client sent too little data in time."""

    status = 408
    title = "Upload timed out"


class UploadTooLargeError(AppError):
    """The file is larger than MAX_UPLOAD_BYTES."""

    status = 413
    title = "Upload too large"


class NotAVideoError(AppError):
    """ffprobe does not recognise the file as a video."""

    status = 415
    title = "Not a video"

    def __init__(self, message: str, *, log: str | None = None) -> None:
        """Store a sentence, and the lines of ffprobe's log behind it."""
        super().__init__(message)
        self.log = log


class StorageFullError(AppError):
    """The disk is full."""

    status = 507
    title = "Storage full"


class UnavailableError(AppError):
    """The database or a required program is unavailable right now."""

    status = 503
    title = "Temporarily unavailable"
