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


class AdminRequiredError(AppError):
    """Whoever asks may not manage webhooks."""

    status = 403
    title = "Not allowed"


class WebhookNotFoundError(AppError):
    """No webhook, or none of its deliveries, has the requested id."""

    status = 404
    title = "Webhook not found"


class ForbiddenWebhookError(AppError):
    """The operator does not allow webhooks with this URL."""

    status = 403
    title = "Webhook not allowed"


class ReadOnlyError(AppError):
    """Somebody who may only read has tried to change something."""

    status = 403
    title = "Read-only access"


class SignInError(AppError):
    """The browser does not continue a sign-in that it has started, or has continued it already."""

    status = 400
    title = "Sign-in failed"


class NotAdmittedError(AppError):
    """Whoever has signed in is not admitted, or has not agreed to sign in."""

    status = 403
    title = "Not admitted"


class IdentityProviderError(AppError):
    """The identity provider does not answer, or its answer cannot be trusted."""

    status = 502
    title = "Sign-in unavailable"


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


class UploadNotFoundError(AppError):
    """No resumable upload has the requested id, or it has expired."""

    status = 404
    title = "Upload not found"


class UploadOffsetError(AppError):
    """The data does not continue where the stored part ends."""

    status = 409
    title = "Wrong offset"


class UploadTypeError(AppError):
    """The data of a resumable upload has another media type than the protocol demands."""

    status = 415
    title = "Wrong media type"


class UploadBusyError(AppError):
    """Another request is writing to the same upload."""

    status = 423
    title = "Upload in use"


class UploadVersionError(AppError):
    """The client does not speak the supported version of the protocol."""

    status = 412
    title = "Unsupported protocol version"


class ChecksumError(AppError):
    """The data does not have the announced checksum."""

    status = 460  # assigned by the protocol
    title = "Checksum mismatch"


class NotAVideoError(AppError):
    """ffprobe does not recognise the file as a video."""

    status = 415
    title = "Not a video"

    def __init__(self, message: str, *, log: str | None = None) -> None:
        """Store a sentence, and the lines of ffprobe's log behind it."""
        super().__init__(message)
        self.log = log


class TooManyRequestsError(AppError):
    """The client, or its API key, has too much unfinished already."""

    status = 429
    title = "Too many requests"


class QuotaError(AppError):
    """The API key has used up its quota of bytes."""

    status = 507  # for quotas, too (RFC 4331 §6)
    title = "Quota exceeded"


class StorageFullError(AppError):
    """The disk is full."""

    status = 507
    title = "Storage full"


class UnavailableError(AppError):
    """The database or a required program is unavailable right now."""

    status = 503
    title = "Temporarily unavailable"
