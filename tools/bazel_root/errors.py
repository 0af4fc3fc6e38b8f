"""The one exception that bazelw's modules raise for a problem the user can act on."""

from __future__ import annotations


class BazelRootError(Exception):
    """Names the thing at fault, the cause and the next step; shown without a traceback."""
