"""Finds where two builds differ: the first differing file, and inside a layer the first differing entry.

Guarantee: `first_difference` returns None only if every regular file of both trees has the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """Returns the sha256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(path: Path) -> Iterator[Path]:
    """Yields the regular files below a path, sorted, or the path itself if it is a file.

    Links are followed: a layout's layer blobs are links to the layers.

    Raises:
        FileNotFoundError: there is nothing at the path, or a link below it leads nowhere.
    """
    if stat.S_ISREG(path.stat().st_mode):
        yield path
        return
    for name in sorted(os.listdir(path)):
        yield from files_below(path / name)


def first_difference(ours: Path, theirs: Path) -> str | None:
    """Says in words where two outputs differ first, or returns None if they are equal.

    Both are a file or a directory. Names are relative to the two arguments.

    Raises:
        FileNotFoundError: one of them is missing, or a link in it leads nowhere.
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
        extra = one or other
        assert extra is not None
        return f"{extra.name} is in only one of the two builds"
    if one.name != other.name:
        return f"{min(one.name, other.name)} is in only one of the two builds"
    for field in ("type", "mode", "uid", "gid", "uname", "gname", "mtime", "linkname", "size"):
        ours, theirs = getattr(one, field), getattr(other, field)
        if ours != theirs:
            return f"{one.name}: {field} is {ours!r} in one build and {theirs!r} in the other"
    if one.isreg():
        our_file, their_file = our_tar.extractfile(one), their_tar.extractfile(other)
        assert our_file is not None
        assert their_file is not None
        offset = 0
        while True:
            our_chunk, their_chunk = our_file.read(_CHUNK), their_file.read(_CHUNK)
            if our_chunk != their_chunk:
                at = next(
                    i for i in range(len(our_chunk)) if our_chunk[i : i + 1] != their_chunk[i : i + 1]
                )
                return f"{one.name}: the contents differ from byte {offset + at} on"
            if not our_chunk:
                break
            offset += len(our_chunk)
    return None
