"""What an image says of its Python distributions, read by importlib.metadata, and what is wrong.

The metadata directories are written to disk as the image has them, because that is what the reader
reads; the files that a RECORD lists are compared with the image's own bytes.
"""

from __future__ import annotations

import base64
import csv
import importlib.metadata
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.cli import ToolError
from tools.image.image_files import ImageFiles
from tools.wheels.lockfile import LockedWheel

_METADATA = re.compile(r"(/.*)/[^/]+\.(?:dist-info|egg-info)(?:/.*)?")
# Where wheels put files: what is here and in no RECORD came from nowhere.
_WHEEL_DIRECTORIES = re.compile(r"/usr/local/(?:bin|lib/python3\.\d+/dist-packages)/.*")


@dataclass(frozen=True)
class Record:
    """One line of a RECORD: SHA-256 in hex and size, both None where the line has none."""

    sha256: str | None
    size: int | None


@dataclass(frozen=True)
class Distribution:
    """One installed distribution; `record` is by absolute path in the image."""

    name: str
    version: str
    tags: frozenset[Tag]
    record: Mapping[str, Record] = field(repr=False)


@dataclass(frozen=True)
class Python:
    """All distributions, sorted by name, and the owner of each of their files."""

    distributions: tuple[Distribution, ...]
    files: Mapping[str, str]


def is_metadata(path: str) -> bool:
    """Return whether this module reads the file's content."""
    return _METADATA.fullmatch(path) is not None


def read(
    image: ImageFiles,
    scratch: Path,
    *,
    unreadable: Callable[[ToolError], object] | None = None,
) -> Python:
    """Read all distributions, wherever in the image; `scratch` is an empty directory.

    Raise ToolError for metadata that lacks what its reader needs. With `unreadable`, such a
    distribution is left out, and the error goes there.
    """
    roots: dict[str, Path] = {}
    for path in sorted(image.files):
        match = _METADATA.fullmatch(path)
        if match is not None:
            target = scratch / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image.read(path))
            roots[match[1]] = scratch / match[1].lstrip("/")
    found = []
    for root, directory in roots.items():
        for each in importlib.metadata.distributions(path=[str(directory)]):
            try:
                found.append(_distribution(each, root))
            except (ToolError, ValueError) as error:
                if unreadable is None:
                    raise
                unreadable(ToolError(f"{root}: {error}"))
    found.sort(key=lambda each: (each.name, each.version))
    files = {path: each.name for each in found for path in each.record}
    return Python(tuple(found), files)


def _distribution(each: importlib.metadata.Distribution, root: str) -> Distribution:
    # Absent fields come back as None, whatever the annotations say.
    name = each.metadata["Name"]
    wheel = each.read_text("WHEEL") or ""
    tags = re.findall(r"^Tag: (\S+)$", wheel, re.MULTILINE)
    listing = each.read_text("RECORD")
    if not name or not tags or listing is None:
        raise ToolError(
            f"{root}: {name or each}: its metadata lacks the name, a WHEEL with tags or a RECORD"
        )
    record = {}
    # Not each.files, which since Python 3.12 leaves out what is not on this disk.
    for file, *rest in filter(None, csv.reader(listing.splitlines())):
        path = posixpath.normpath(posixpath.join(root, file))
        hashed, size, *_ = (*rest, "", "")
        try:
            record[path] = Record(_hex(hashed), int(size) if size else None)
        except ValueError as error:
            raise ToolError(f"{root}: {name}: RECORD: {path}: {error}") from error
    return Distribution(
        name=canonicalize_name(name),
        version=each.version,
        tags=frozenset(tag for text in tags for tag in parse_tag(text)),
        record=record,
    )


def _hex(hashed: str) -> str | None:
    if not hashed:
        return None
    value = hashed.partition("=")[2]
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()


def deviations(image: ImageFiles, found: Python, wanted: Sequence[LockedWheel]) -> Iterator[str]:
    """Yield a sentence for each difference between image, lock and bytes."""
    by_name: dict[str, Distribution] = {}
    for each in found.distributions:
        if each.name in by_name:
            first = by_name[each.name].version
            yield f"{each.name}: is installed twice, as {first} and {each.version}"
        by_name[each.name] = each
    locked = {wheel.name: wheel for wheel in wanted}
    for name in sorted(locked.keys() - by_name.keys()):
        yield f"{name}: no dist-info, though the lock has {name} {locked[name].version}"
    for name in sorted(by_name.keys() - locked.keys()):
        yield f"{name} {by_name[name].version}: is not in the lock"
    for name in sorted(locked.keys() & by_name.keys()):
        wheel, own = locked[name], by_name[name]
        if own.version != wheel.version:
            yield f"{name}: version is {own.version!r}, the lock says {wheel.version!r}"
        elif own.tags != parse_wheel_filename(wheel.filename)[3]:
            yield f"{name}: WHEEL's tags are not those of {wheel.filename}"
    for each in found.distributions:
        yield from _records(image, each)
    for path in sorted(image.files.keys() - found.files.keys()):
        if _WHEEL_DIRECTORIES.fullmatch(path):
            yield f"{path}: is where wheels install files, and in no RECORD"


def _records(image: ImageFiles, each: Distribution) -> Iterator[str]:
    for path, record in each.record.items():
        file = image.files.get(path)
        if file is None:
            yield f"{path}: the RECORD of {each.name} lists it, but it is missing"
        elif record.sha256 is not None and file.sha256 != record.sha256:
            yield f"{path}: has SHA-256 {file.sha256}, the RECORD of {each.name} {record.sha256}"
        elif record.size is not None and file.size != record.size:
            yield f"{path}: has {file.size} bytes, the RECORD of {each.name} says {record.size}"
        elif record.sha256 is None and not path.endswith("/RECORD"):
            yield f"{path}: the RECORD of {each.name} has no hash for it"
