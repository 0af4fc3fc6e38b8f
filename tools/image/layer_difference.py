"""Two tar archives, such as layers → what differs, member by member.

    old, new = read_members(old_stream), read_members(new_stream)
    for change in differences(old, new): ...

Guarantee: no differences means that both archives unpack to the same files, in the same order. What
may still differ then is how the tar spells its headers.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import AnyStr

from tools.archive.decompress import CHUNK, DecompressionError
from tools.archive.gzip_blocks import read_blocks
from tools.archive.tar_stream import Header, LayerError, TarStream

_XATTR = ("SCHILY.xattr.", "LIBARCHIVE.xattr.")
_MAX_TEXT = 1 << 20  # Longer contents are compared byte by byte only.
_SHOWN = 60  # Characters of a line that are quoted,
_BEFORE = 20  # of these at most before the difference.


class Field(enum.IntEnum):
    """What differs in a member, what matters most first."""

    PRESENCE = enum.auto()
    TYPE = enum.auto()
    CONTENT = enum.auto()
    TARGET = enum.auto()
    MODE = enum.auto()
    OWNER = enum.auto()
    XATTR = enum.auto()
    OWNER_NAME = enum.auto()
    TIME = enum.auto()
    ORDER = enum.auto()


@dataclass(frozen=True)
class Member:
    """A member's header, and the SHA-256 of a file's content."""

    header: Header
    sha256: bytes


@dataclass(frozen=True)
class Members:
    """An archive's members by absolute path, in its order, and the contents that were kept."""

    members: Mapping[str, Member]
    kept: Mapping[str, bytes]


@dataclass(frozen=True)
class Change:
    """One property of one path, on both sides; None where the path does not exist.

    `what` names the property: "mode", "owner", "extended attribute user.x".
    """

    path: str
    field: Field
    what: str
    old: str | None
    new: str | None


def read_members(stream: TarStream, *, keep: Callable[[str], bool] = lambda _: False) -> Members:
    """Read an archive to its end, keeping the content of files that `keep` selects by their path.

    Raise LayerError for a damaged one.
    """
    members: dict[str, Member] = {}
    kept: dict[str, bytes] = {}
    for header in stream:
        path = absolute(header.name)
        # A later member of the same path replaces the earlier one, in its place.
        members.pop(path, None)
        digest = hashlib.sha256()
        if keep(path) and header.kind == "file":
            kept[path] = stream.read()
            digest.update(kept[path])
        else:
            for piece in stream.body():
                digest.update(piece)
        members[path] = Member(header, digest.digest())
    return Members(members, kept)


def absolute(name: str) -> str:
    """Return a member's name as an absolute path, without `.` and a slash at its end."""
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def differences(old: Members, new: Members) -> Iterator[Change]:
    """Yield what differs, by path and then by what matters most; the order of members last."""
    for path in sorted(old.members.keys() | new.members.keys()):
        one, other = old.members.get(path), new.members.get(path)
        if one is None or other is None:
            values = [None if each is None else _described(each) for each in (one, other)]
            yield Change(path, Field.PRESENCE, "presence", *values)
        else:
            yield from _properties(path, one, other)
    order = [
        [path for path in side.members if path in other.members]
        for side, other in ((old, new), (new, old))
    ]
    for at, (path, instead) in enumerate(zip(*order, strict=True)):
        if path != instead:
            before = f"after {order[0][at - 1]}" if at else "first"
            number = order[1].index(path)
            after = f"after {order[1][number - 1]}" if number else "first"
            yield Change(path, Field.ORDER, "order of members", before, after)
            return


def _described(member: Member) -> str:
    header = member.header
    size = f", {header.size} bytes" if header.kind == "file" else ""
    target = f" to {header.linkname}" if header.linkname else ""
    return f"{header.kind}{target}{size}"


def _properties(path: str, old: Member, new: Member) -> Iterator[Change]:
    one, other = old.header, new.header
    if one.kind != other.kind:
        yield Change(path, Field.TYPE, "type", _described(old), _described(new))
    elif old.sha256 != new.sha256:
        sizes = (f"{one.size} bytes", f"{other.size} bytes")
        yield Change(path, Field.CONTENT, "content", *sizes)
    elif one.device != other.device:
        yield Change(path, Field.TYPE, "device number", _pair(one.device), _pair(other.device))
    if one.linkname != other.linkname and one.kind == other.kind:
        yield Change(path, Field.TARGET, "link target", one.linkname, other.linkname)
    if one.mode != other.mode:
        yield Change(path, Field.MODE, "mode", f"{one.mode:04o}", f"{other.mode:04o}")
    owners = (one.uid, one.gid), (other.uid, other.gid)
    if owners[0] != owners[1]:
        yield Change(path, Field.OWNER, "owner", *map(_pair, owners))
    names = (one.uname, one.gname), (other.uname, other.gname)
    if names[0] != names[1]:
        yield Change(path, Field.OWNER_NAME, "owner's name", *map(_pair, names))
    yield from _xattrs(path, dict(one.records), dict(other.records))
    if _time(one) != _time(other):
        yield Change(path, Field.TIME, "time", _time(one), _time(other))


def _xattrs(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        if key.startswith(_XATTR) and old.get(key) != new.get(key):
            name = key.split(".", 2)[2]
            values = [repr(each[key]) if key in each else "none" for each in (old, new)]
            yield Change(path, Field.XATTR, f"extended attribute {name}", *values)


def _pair(values: tuple[object, object]) -> str:
    return f"{values[0]}:{values[1]}"


def _time(header: Header) -> str:
    # Seconds may have a fraction, which only the record has.
    seconds = dict(header.records).get("mtime", str(header.mtime))
    try:
        moment = datetime.fromtimestamp(header.mtime, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"
    _, point, fraction = seconds.partition(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{point}{fraction}Z"


def content_difference(old: TarStream, new: TarStream, path: str) -> str:
    """Say where the contents of a file differ first, which two archives have at `path`.

    Raise LayerError for a damaged archive.
    """
    one, other = _Body(old, path), _Body(new, path)
    size = max(one.size, other.size)
    if size <= _MAX_TEXT:
        return _where(one.read(size), other.read(size))
    offset = 0
    while (pieces := (one.read(CHUNK), other.read(CHUNK))) != (b"", b""):
        if pieces[0] != pieces[1]:
            return f"from byte {offset + _first(*pieces)} on"
        offset += len(pieces[0])
    raise LayerError(f"{path}: the contents are equal")


class _Body:
    """A member's content, read in pieces of any size."""

    def __init__(self, stream: TarStream, path: str) -> None:
        for header in stream:
            if absolute(header.name) == path and header.kind == "file":
                break
        else:
            raise LayerError(f"{path}: no file of that name in the archive")
        self.size = header.size
        self._pieces = stream.body()
        self._rest = b""

    def read(self, count: int) -> bytes:
        parts = [self._rest]
        have = len(self._rest)
        while have < count and (piece := next(self._pieces, None)) is not None:
            parts.append(bytes(piece))
            have += len(piece)
        data = b"".join(parts)
        self._rest = data[count:]
        return data[:count]


def _where(old: bytes, new: bytes) -> str:
    offset = _first(old, new)
    try:
        lines = old.decode().split("\n"), new.decode().split("\n")
    except UnicodeDecodeError:
        return f"from byte {offset} on"
    if b"\0" in old + new:
        return f"from byte {offset} on"
    for number, pair in enumerate(itertools.zip_longest(*lines), start=1):
        if pair[0] != pair[1]:
            at = max(0, _first(pair[0] or "", pair[1] or "") - _BEFORE)
            shown = ["no line" if line is None else _excerpt(line, at) for line in pair]
            return f"from byte {offset} on, line {number}: {shown[0]} → {shown[1]}"
    return f"from byte {offset} on"


def _excerpt(line: str, at: int) -> str:
    end = at + _SHOWN
    return f"{'…' if at else ''}{line[at:end]!r}{'…' if len(line) > end else ''}"


def _first(old: AnyStr, new: AnyStr) -> int:
    """Return the first offset at which two contents differ, the end of the shorter one included."""
    low, high = 0, min(len(old), len(new))
    # Comparing halves is fast; comparing bytes one by one is not.
    while low < high:
        middle = (low + high) // 2
        if old[low : middle + 1] == new[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def tar_of(path: Path, *, max_bytes: int = 1 << 62) -> TarStream:
    """Return the members of a tar file of any compression, which are not verified by a digest.

    Reading them raises LayerError if the file is something else, is damaged, or unpacks to more
    than `max_bytes`.
    """
    return TarStream(_chunks(path, max_bytes), source=str(path))


def _chunks(path: Path, max_bytes: int) -> Iterator[bytes]:
    left = max_bytes
    with path.open("rb") as stream:
        try:
            for chunk in read_blocks(iter(lambda: stream.read(CHUNK), b"")):
                left -= len(chunk)
                if left < 0:
                    raise LayerError(f"{path}: unpacks to more than {max_bytes} bytes")
                yield chunk
        except DecompressionError as error:
            raise LayerError(f"{path}: {error}") from error
