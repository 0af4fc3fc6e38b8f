"""Reads from an ELF object the two facts ldconfig sorts it by: its machine and its soname.

After the System V gABI, with the standard library alone, because a layer's tool has nothing else;
`elf.py` reads more, for tests. Only 64-bit little-endian objects count: the others are for machines
that no lock has.
"""

import struct
from dataclasses import dataclass

_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, current version
_MACHINES = {0x3E: "EM_X86_64", 0xB7: "EM_AARCH64"}
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_SONAME = 0, 5, 14
_HEADER = struct.Struct("<16xHHIQQQIHHH")  # type, machine, ..., e_phoff, ..., e_phentsize, e_phnum
_SEGMENT = struct.Struct("<IIQQQQ")  # type, flags, offset, vaddr, paddr, filesz
_TAG = struct.Struct("<qQ")


class SonameError(Exception):
    """An object that begins as ELF and contradicts itself."""


@dataclass(frozen=True)
class Soname:
    """A shared object's machine ("EM_X86_64"...) and DT_SONAME, "" where it has none."""

    machine: str
    soname: str


def read_soname(content: bytes) -> Soname | None:
    """Returns the facts, or None for what is no dynamic object of a known machine.

    Raises SonameError for a damaged object.
    """
    if not content.startswith(_IDENT):
        return None
    try:
        _, number, _, _, start, _, _, _, size, count = _HEADER.unpack_from(content)
        machine = _MACHINES.get(number)
        segments = [_SEGMENT.unpack_from(content, start + i * size) for i in range(count)]
        dynamic = [
            (offset, length) for kind, _, offset, _, _, length in segments if kind == _PT_DYNAMIC
        ]
        if machine is None or not dynamic:
            return None
        tags = _tags(content, *dynamic[0])
        if _DT_SONAME not in tags:
            return Soname(machine, "")
        strings = _file_offset(tags[_DT_STRTAB], segments)
        begin = strings + tags[_DT_SONAME]
        return Soname(machine, content[begin : content.index(b"\0", begin)].decode("ascii"))
    except (struct.error, ValueError, KeyError) as error:
        raise SonameError(f"damaged ELF object: {error!r}") from error


def _tags(content: bytes, offset: int, length: int) -> dict[int, int]:
    tags: dict[int, int] = {}
    for position in range(offset, offset + length, _TAG.size):
        tag, value = _TAG.unpack_from(content, position)
        if tag == _DT_NULL:
            break
        tags[tag] = value
    return tags


def _file_offset(address: int, segments: list[tuple[int, ...]]) -> int:
    for kind, _, offset, start, _, length in segments:
        if kind == _PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError(f"address {address:#x} is in no segment")
