"""Lets psycopg find libpq where nobody can be asked for it.

psycopg asks `ctypes.util.find_library` for libpq and for the C library, and that starts ldconfig,
gcc or ld to learn names that the dynamic linker has no need to be told. An image may have none of
these programs.
"""

import ctypes
import ctypes.util

# The names that the libraries have since PostgreSQL 8.2 and glibc 2.0.
LIBRARIES = {"pq": "libpq.so.5", "c": "libc.so.6"}


def make_findable() -> None:
    """Have `find_library` answer for LIBRARIES as ldconfig would, where it does not."""
    ask = ctypes.util.find_library
    if all(ask(name) for name in LIBRARIES):
        return

    def find_library(name: str) -> str | None:
        return ask(name) or _loadable(LIBRARIES.get(name))

    ctypes.util.find_library = find_library


def _loadable(library: str | None) -> str | None:
    try:
        if library is not None:
            ctypes.CDLL(library)
    except OSError:
        return None  # psycopg says in its own words that there is none
    return library
