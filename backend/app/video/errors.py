"""Errors of the video library. Messages are shown to users."""


class VideoError(Exception):
    """Base of all errors of this library."""

    def __init__(self, message: str, *, log: str | None = None) -> None:
        """Store a sentence for users, and the lines of a program's log behind it."""
        super().__init__(message)
        self.log = log


class UnreadableVideoError(VideoError):
    """The file is not a supported media file, or it is damaged."""


class NoVideoStreamError(VideoError):
    """The file is readable but has no video, for example an audio recording."""


class VideoTooBigError(VideoError):
    """The video exceeds the limit of pixels per frame or of seconds."""


class MemoryLimitError(VideoError):
    """Processing the video needs more memory than allowed."""


class TimeLimitError(VideoError):
    """Processing the video takes longer than allowed."""


class ToolError(VideoError):
    """A program could not be started, or was killed. The video is not at fault."""
