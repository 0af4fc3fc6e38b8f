"""Find where two builds differ: the first file, and inside a layer the first entry.

Guarantee: `first_difference` returns None only if all files of both trees have the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20


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
        with tarfile.open(ours) as our_tar, tarfile.open(theirs) as their_tar:
            for one, other in itertools.zip_longest(our_tar, their_tar):
                if difference := _entry_difference(our_tar, one, their_tar, other):
                    return difference
    except tarfile.ReadError:
        return f"the bytes differ (sha256 {file_digest(ours)} and {file_digest(theirs)})"
    return "every entry is equal, so the compression or the headers' encoding differs"


def _entry_difference(
    our_tar: tarfile.TarFile,
    one: tarfile.TarInfo | None,
    their_tar: tarfile.TarFile,
    other: tarfile.TarInfo | None,
) -> str | None:
    if one is None or other is None:
        extra = one.name if one else other.name if other else "nothing"
        return f"{extra} is in only one of the two builds"
    if one.name != other.name:
        return f"{min(one.name, other.name)} is in only one of the two builds"
    for field in ("type", "mode", "uid", "gid", "uname", "gname", "mtime", "linkname", "size"):
        ours, theirs = getattr(one, field), getattr(other, field)
        if ours != theirs:
            return f"{one.name}: {field} is {ours!r} in one build and {theirs!r} in the other"
    our_file, their_file = our_tar.extractfile(one), their_tar.extractfile(other)
    if one.isreg() and our_file and their_file:
        return _content_difference(one.name, our_file, their_file)
    return None


def _content_difference(name: str, ours: IO[bytes], theirs: IO[bytes]) -> str | None:
    offset = 0
    while chunk := ours.read(_CHUNK):
        other = theirs.read(_CHUNK)
        if chunk != other:
            at = next(
                i for i, pair in enumerate(zip(chunk, other, strict=True)) if pair[0] != pair[1]
            )
            return f"{name}: the contents differ from byte {offset + at} on"
        offset += len(chunk)
    return None
