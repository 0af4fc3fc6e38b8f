"""Find where two builds differ: the first file, and inside a layer the first entry.

Guarantee: `first_difference` returns None only if all files of both trees have the same bytes.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

from tools.archive.tar_stream import LayerError
from tools.image.layer_difference import (
    Field,
    content_difference,
    differences,
    read_members,
    tar_of,
)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_below(path: Path) -> Iterator[Path]:
    """Yield the regular files below a path, sorted, or the path itself if it is a file.

    Links are followed: a layout's layer blobs are links to the layers.

    Raise FileNotFoundError if there is nothing at the path, or a link below it leads nowhere.
    """
    if stat.S_ISREG(path.stat().st_mode):
        yield path
        return
    for child in sorted(path.iterdir()):
        yield from files_below(child)


def first_difference(ours: Path, theirs: Path) -> str | None:
    """Say in words where two outputs differ first, or return None if they are equal.

    Both are a file or a directory. Names are relative to the two arguments. Raise
    FileNotFoundError if one of them is missing, or a link in it leads nowhere.
    """
    our_files = {path.relative_to(ours).as_posix(): path for path in files_below(ours)}
    their_files = {path.relative_to(theirs).as_posix(): path for path in files_below(theirs)}
    for name in sorted(our_files.keys() | their_files.keys()):
        if name not in our_files or name not in their_files:
            return f"{name} is in only one of the two builds"
        if file_digest(our_files[name]) != file_digest(their_files[name]):
            inside = _first_differing_entry(our_files[name], their_files[name])
            return inside if name == "." else f"{name}: {inside}"
    return None


def _first_differing_entry(ours: Path, theirs: Path) -> str:
    try:
        change = next(differences(read_members(tar_of(ours)), read_members(tar_of(theirs))), None)
        if change is None:
            return "every entry is equal, so the compression or the headers' encoding differs"
        if change.field is Field.CONTENT:
            place = content_difference(tar_of(ours), tar_of(theirs), change.path)
            return f"{change.path}: the contents differ {place}"
    except LayerError:
        return f"the bytes differ (sha256 {file_digest(ours)} and {file_digest(theirs)})"
    if change.field is Field.PRESENCE:
        return f"{change.path} is in only one of the two builds"
    return (
        f"{change.path}: {change.what} is {change.old} in one build and {change.new} in the other"
    )
