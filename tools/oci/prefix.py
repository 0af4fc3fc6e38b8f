"""Name what a tool works on in every error, since many run side by side in one build."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tools.cli import ToolError


@contextlib.contextmanager
def prefixed(subject: str) -> Iterator[None]:
    """Put a label or the name of an image before the message of a ToolError or OSError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ToolError, OSError) as error:
        raise ToolError(f"{subject}: {error}") from error
