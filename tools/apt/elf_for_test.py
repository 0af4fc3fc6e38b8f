"""Builds the smallest shared objects that have what ldconfig reads."""

import struct

EM_X86_64, EM_AARCH64 = 0x3E, 0xB7


def shared_object(soname: str | None, *, machine: int = EM_X86_64) -> bytes:
    """A 64-bit little-endian object with one PT_LOAD, a PT_DYNAMIC and a string table."""
    base, strings_at, dynamic_at = 0x10000, 0x100, 0x200
    strings = b"\0" + (soname or "").encode() + b"\0"
    tags = [(5, base + strings_at), (10, len(strings))]
    if soname is not None:
        tags.append((14, 1))
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (0, 0)])
    size = dynamic_at + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, base, base, size, size, 0x1000)
    place = (dynamic_at, base + dynamic_at, base + dynamic_at, len(dynamic), len(dynamic))
    content = header + load + struct.pack("<IIQQQQQQ", 2, 4, *place, 8)
    content = content.ljust(strings_at, b"\0") + strings
    return content.ljust(dynamic_at, b"\0") + dynamic
