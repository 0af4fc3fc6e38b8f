"""The format of /etc/ld.so.cache, and the search in it, as glibc's ld.so does it.

glibc-ld.so.cache1.1 (sysdeps/generic/dl-cache.h), little-endian: a header, entries sorted from high
to low by `compare_names`, and their strings. An older table may stand before it; libraries in
glibc-hwcaps directories are marked in an extension. tools/apt/ld_cache.py writes it.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tools.cli import ToolError

PATH = "/etc/ld.so.cache"
MAGIC = b"glibc-ld.so.cache1.1"
HEADER = struct.Struct("<20sIIB3xI12x")  # magic, entries, string bytes, flags, extensions' offset
ENTRY = struct.Struct("<iIIIQ")  # flags, name, path, (unused) OS version, hwcap
ELF_LIBC6 = 0x0003

_OLD_MAGIC = b"ld.so-1.7.0\0"
_OLD_ENTRY_SIZE = 12
_EXTENSION_MAGIC, _HWCAPS_TAG = 0xEAA42174, 1
_HWCAP_EXTENSION = 1 << 62


@dataclass(frozen=True)
class CacheEntry:
    """`hwcaps` names the glibc-hwcaps subdirectory it is for, "" means for any processor."""

    name: str
    path: str
    flags: int
    hwcaps: str = ""


def read_cache(content: bytes) -> tuple[CacheEntry, ...]:
    """Return the entries in the order of the file. Raise ToolError for anything malformed."""
    try:
        if content.startswith(_OLD_MAGIC):
            (count,) = struct.unpack_from("<I", content, 12)
            content = content[-(-(16 + count * _OLD_ENTRY_SIZE) // 8) * 8 :]
        magic, count, _, _, extensions = HEADER.unpack_from(content)
        if magic != MAGIC:
            raise ToolError(f"begins with {magic!r}, expected {MAGIC!r}")
        subdirectories = _hwcaps(content, extensions) if extensions else ()
        entries = []
        for i in range(count):
            flags, name, path, _, hwcap = ENTRY.unpack_from(content, HEADER.size + i * ENTRY.size)
            hwcaps = subdirectories[hwcap & 0xFFFFFFFF] if hwcap & _HWCAP_EXTENSION else ""
            if hwcap and not hwcaps:
                continue  # For a processor feature of old; ld.so prefers, but never needs, these.
            entries.append(CacheEntry(_text(content, name), _text(content, path), flags, hwcaps))
    except (struct.error, ValueError, IndexError) as error:
        raise ToolError(f"is damaged: {error!r}") from error
    return tuple(entries)


def _hwcaps(content: bytes, at: int) -> tuple[str, ...]:
    magic, count = struct.unpack_from("<II", content, at)
    if magic != _EXTENSION_MAGIC:
        raise ValueError(f"extension directory begins with {magic:#x}")
    for i in range(count):
        tag, _, offset, size = struct.unpack_from("<IIII", content, at + 8 + i * 16)
        if tag == _HWCAPS_TAG:
            names = struct.unpack_from(f"<{size // 4}I", content, offset)
            return tuple(_text(content, name) for name in names)
    return ()


def _text(content: bytes, at: int) -> str:
    return content[at : content.index(b"\0", at)].decode()


def unsorted_names(entries: Sequence[CacheEntry]) -> tuple[str, str] | None:
    """Return two neighbours in the wrong order: ld.so's bisection would miss libraries."""
    for one, other in itertools.pairwise(entries):
        if compare_names(one.name, other.name) < 0:
            return one.name, other.name
    return None


def compare_names(one: str, other: str) -> int:
    """Compare as the loader does (_dl_cache_libcmp): runs of digits by value, the rest by byte."""
    i = j = 0
    while i < len(one):
        a, b = one[i], other[j] if j < len(other) else "\0"
        if _is_digit(a) and _is_digit(b):
            one_value, i = _number(one, i)
            other_value, j = _number(other, j)
            if one_value != other_value:
                return one_value - other_value
        elif _is_digit(a) or _is_digit(b):
            return 1 if _is_digit(a) else -1
        elif a != b:
            return ord(a) - ord(b)
        else:
            i, j = i + 1, j + 1
    return 0 if j >= len(other) else -1


def _is_digit(character: str) -> bool:
    return "0" <= character <= "9"


def _number(text: str, start: int) -> tuple[int, int]:
    end = start
    while end < len(text) and _is_digit(text[end]):
        end += 1
    return int(text[start:end]), end
