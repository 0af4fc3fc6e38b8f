"""What can be wrong with a video or with looking at it. Messages are shown to users."""


class VideoError(Exception):
    """Base of all errors of this library."""


class UnreadableVideoError(VideoError):
    """The file is no media file of a known kind, or it is damaged."""


class NoVideoStreamError(VideoError):
    """The file is readable but has nothing to look at, such as a sound recording."""


class VideoTooBigError(VideoError):
    """The picture has more pixels, or the video more seconds, than we decode."""


class MemoryLimitError(VideoError):
    """Looking at the video took more memory than allowed."""


class TimeLimitError(VideoError):
    """Looking at the video took longer than allowed."""


class ToolError(VideoError):
    """A program could not be run at all, or was killed. The video is not to blame."""
