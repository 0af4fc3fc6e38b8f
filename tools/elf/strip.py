"""ELF objects → the same objects without what only debuggers and linkers read.

Debian's own libraries come like this (`dh_strip`); wheels often do not. Every segment, and so all
that a process ever maps, stays byte for byte; what goes is in no segment: debugging information,
the static symbol table, comments. A hole that this leaves before a segment is closed as far as the
segment's alignment allows (gABI: p_offset ≡ p_vaddr, modulo p_align). Same object, same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from tools.cli import ToolError

_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, current version
# e_ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize,
# shnum, shstrndx
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, ...
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474E551
_SHT_STRTAB = 3
_SHF_ALLOC, _SHF_INFO_LINK = 2, 0x40
_SHARED, _EXECUTABLE = 3, 2
_NAMES = b".shstrtab"
# Sections whose `info` is the number of another section (gABI, figure "sh_link and sh_info").
_RELOCATIONS = (4, 9)


@dataclass(frozen=True)
class _Extent:
    """Bytes that stay, from `start` to `end` in the old file, and where they begin in the new."""

    start: int
    end: int
    align: int
    place: int = 0


def strip_object(content: bytes) -> bytes:
    """Return the object in `content` stripped; anything but a program or library, unchanged.

    Raise ToolError for a damaged object.
    """
    if not content.startswith(_IDENT):
        return content
    try:
        header = _HEADER.unpack_from(content)
        if header[1] not in (_SHARED, _EXECUTABLE) or not header[6] or not header[12]:
            return content
        return _stripped(content, header)
    except (struct.error, ValueError, IndexError) as error:
        raise ToolError(f"damaged ELF object: {error!r}") from error


def _stripped(content: bytes, header: tuple[int, ...]) -> bytes:
    segments = _table(_SEGMENT, content, offset=header[5], size=header[9], count=header[10])
    sections = _table(_SECTION, content, offset=header[6], size=header[11], count=header[12])
    table = _Extent(header[5], header[5] + header[9] * header[10], 1)
    extents = _placed(_extents(segments, table, size=len(content)))
    body = bytearray()
    for extent in extents:
        body += bytes(extent.place - len(body))
        body += content[extent.start : extent.end]
    for number, segment in enumerate(segments):
        moved = (*segment[:2], _moved(segment[2], extents), *segment[3:])
        at = _moved(header[5], extents) + number * _SEGMENT.size
        _SEGMENT.pack_into(body, at, *moved)
    tables, section_offset, count = _sections(content, sections, header[13], extents, len(body))
    body += tables
    _HEADER.pack_into(
        body,
        0,
        *header[:5],
        _moved(header[5], extents),
        section_offset,
        *header[7:12],
        count,
        count - 1,
    )
    result = bytes(body)
    return result if len(result) < len(content) else content


def _table(
    entry: struct.Struct, content: bytes, *, offset: int, size: int, count: int
) -> list[tuple[int, ...]]:
    if count and size != entry.size:
        raise ValueError(f"entries of {size} bytes where the gABI has {entry.size}")
    return [entry.unpack_from(content, offset + number * size) for number in range(count)]


def _extents(segments: list[tuple[int, ...]], table: _Extent, *, size: int) -> list[_Extent]:
    """Return what must stay, without overlaps and sorted: the two headers and all segments."""
    wanted = [_Extent(0, _HEADER.size, 1), table]
    for kind, _, offset, _, _, length, _, align in segments:
        if offset + length > size:
            raise ValueError(f"a segment ends at {offset + length}, the file at {size}")
        if length and kind != _PT_GNU_STACK:
            # Only a loaded segment has to lie as its address does; others lie inside of one, or
            # are read through it.
            wanted.append(_Extent(offset, offset + length, align if kind == _PT_LOAD else 8))
    merged: list[_Extent] = []
    for extent in sorted(wanted, key=lambda extent: (extent.start, extent.end)):
        if merged and extent.start <= merged[-1].end:
            last = merged[-1]
            merged[-1] = replace(
                last, end=max(last.end, extent.end), align=max(last.align, extent.align)
            )
        else:
            merged.append(extent)
    return merged


def _placed(extents: list[_Extent]) -> list[_Extent]:
    placed = []
    end = 0
    for extent in extents:
        align = max(extent.align, 1)
        place = end + (extent.start - end) % align
        placed.append(replace(extent, place=place))
        end = place + extent.end - extent.start
    return placed


def _moved(offset: int, extents: list[_Extent]) -> int:
    """Return where the byte at `offset` went; what was in no extent keeps its number."""
    for extent in extents:
        if extent.start <= offset <= extent.end:
            return offset - extent.start + extent.place
    return offset


def _sections(
    content: bytes,
    sections: list[tuple[int, ...]],
    names_index: int,
    extents: list[_Extent],
    offset: int,
) -> tuple[bytes, int, int]:
    """Return the table of the sections that stay with their names before it, where the table
    begins in the file, and its number of entries, the last one being the names'.
    """
    names = sections[names_index]
    text = content[names[4] : names[4] + names[5]]
    kept = [n for n, section in enumerate(sections) if n == 0 or section[2] & _SHF_ALLOC]
    numbers = {old: new for new, old in enumerate(kept)}
    strings = bytearray(b"\0")
    entries = []
    for old in kept:
        name, kind, flags, address, at, size, link, info, align, each = sections[old]
        if old == 0:
            entries.append(sections[0])
            continue
        begin = len(strings)
        strings += text[name : text.index(b"\0", name) + 1]
        if kind in _RELOCATIONS or flags & _SHF_INFO_LINK:
            info = numbers.get(info, 0)
        place = _moved(at, extents)
        link = numbers.get(link, 0)
        entries.append((begin, kind, flags, address, place, size, link, info, align, each))
    begin = len(strings)
    strings += _NAMES + b"\0"
    entries.append((begin, _SHT_STRTAB, 0, 0, offset, len(strings), 0, 0, 1, 0))
    padding = bytes(-(offset + len(strings)) % 8)
    table = b"".join(_SECTION.pack(*entry) for entry in entries)
    return bytes(strings) + padding + table, offset + len(strings) + len(padding), len(entries)
