"""What kind of file a path of an image is, for sums that people read."""

from __future__ import annotations

import re

from tools.archive.tar_stream import Header
from tools.verify.packages import is_metadata

# The first that fits.
_FILES = (
    ("Python bytecode", re.compile(r".*\.pyc")),
    ("Python modules", re.compile(r".*\.py")),
    ("shared libraries", re.compile(r".*\.so(\.[0-9.]+)?")),
    ("programs", re.compile(r"/(usr/|usr/local/)?(s?bin|libexec)/.*")),
    ("documentation and licences", re.compile(r"/usr/share/doc/.*")),
    ("configuration", re.compile(r"/etc/.*")),
)


def file_kind(path: str, header: Header) -> str:
    """Return the kind of the member at a path, in the plural."""
    if header.kind != "file":
        return "links" if header.kind.endswith("link") else "directories and devices"
    if is_metadata(path):
        return "package metadata"
    return next((kind for kind, pattern in _FILES if pattern.fullmatch(path)), "other files")
