"""Extract Debian packages into the private root: usr-merged, without documentation.

The four top-level directories that Debian has merged into /usr are rewritten; everything else is
tools/archive/deb_extract.py's.
"""

from __future__ import annotations

from pathlib import Path

from tools.archive.deb_extract import DebExtractor

MERGED = ("bin", "lib", "lib64", "sbin")

# Nothing reads these in a root that only runs Bazel.
_DROPPED = tuple(
    f"usr/share/{name}/"
    for name in (
        "bash-completion",
        "bug",
        "doc",
        "doc-base",
        "info",
        "lintian",
        "locale",
        "man",
        "zsh",
    )
)


def root_extractor(root: Path) -> DebExtractor:
    """Return what extracts packages into the private root `root`."""
    return DebExtractor(root, place=_place)


def _place(name: str) -> str:
    merged = f"usr/{name}" if name.partition("/")[0] in MERGED else name
    return "" if merged.startswith(_DROPPED) else merged
