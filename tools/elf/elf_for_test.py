"""Builds the smallest ELF objects that have what a test is about; the real ld.so lists them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeVar

from tools.elf.elf import MACHINES

T = TypeVar("T")
NUMBERS = {name: number for number, name in MACHINES.items()}
NODEFLIB = 0x800
_NEEDED, _SONAME, _RPATH, _RUNPATH, _FLAGS_1 = 1, 14, 15, 29, 0x6FFFFFFB


def build(  # noqa: C901, PLR0915 - one part of the file after the other
    soname: str | None = None,
    *,
    needed: Sequence[str] = (),
    rpath: str | None = None,
    runpath: str | None = None,
    interpreter: str | None = None,
    flags_1: int = 0,
    wants: Mapping[str, Sequence[str]] | None = None,
    defines: Sequence[str] = (),
    imports: Sequence[tuple[str, str]] = (),
    exports: Sequence[tuple[str, str]] = (),
    machine: str = "EM_X86_64",
    filler: bytes = b"",
) -> bytes:
    """A 64-bit little-endian shared object.

    `wants` are versions by library and `defines` the object's own; `imports` and `exports` are
    symbols with their version, "" for none. `filler` makes two objects differ.
    """
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text.encode()) - 1

    tags = [(_NEEDED, string(name)) for name in needed]
    for tag, text in ((_SONAME, soname), (_RPATH, rpath), (_RUNPATH, runpath)):
        if text is not None:
            tags.append((tag, string(text)))
    if flags_1:
        tags.append((_FLAGS_1, flags_1))

    # Indexes 0 and 1 are "local" and "no version".
    numbers: dict[str, int] = {}
    for version in [*defines, *(each for group in (wants or {}).values() for each in group)]:
        numbers.setdefault(version, len(numbers) + 2)
    symbols, versions = [bytes(24)], [0]
    for names, section in ((imports, 0), (exports, 1)):
        for name, version in names:
            info = 1 << 4 | 2  # STB_GLOBAL, STT_FUNC
            symbols.append(struct.pack("<IBBHQQ", string(name), info, 0, section, 0x40, 0))
            versions.append(numbers[version] if version else 1)

    needs = b"".join(
        struct.pack("<HHIII", 1, len(group), string(library), 16, _step(last, 16 + 16 * len(group)))
        + b"".join(
            struct.pack(
                "<IHHII", _hash(v), 0, numbers[v], string(v), _step(i == len(group) - 1, 16)
            )
            for i, v in enumerate(group)
        )
        for (library, group), last in _marked(list((wants or {}).items()))
    )
    definitions = b"".join(
        struct.pack("<HHHHIII", 1, 0, numbers[v], 1, _hash(v), 20, _step(last, 28))
        + struct.pack("<II", string(v), 0)
        for v, last in _marked(list(defines))
    )

    at = 0x100
    content = bytearray()

    def place(data: bytes, tag: int | None = None) -> int:
        content.extend(bytes(-len(content) % 8))
        here = at + len(content)
        content.extend(data)
        if tag is not None and data:
            tags.append((tag, here))
        return here

    program = (interpreter or "").encode() + b"\0"
    interpreter_at = place(program if interpreter else b"")
    place(b"".join(symbols), 6)
    tags.append((11, 24))
    count = len(symbols)
    # One bucket, whose chain is every symbol.
    chain = [*range(2, count), 0] if count > 1 else []
    place(struct.pack(f"<{3 + count}I", 1, count, min(1, count - 1), 0, *chain), 4)
    if numbers:
        place(struct.pack(f"<{count}H", *versions), 0x6FFFFFF0)
    if needs:
        place(needs, 0x6FFFFFFE)
        tags.append((0x6FFFFFFF, len(wants or {})))
    if definitions:
        place(definitions, 0x6FFFFFFC)
        tags.append((0x6FFFFFFD, len(defines)))
    place(bytes(strings), 5)
    tags.append((10, len(strings)))
    place(filler)
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (0, 0)])
    dynamic_at = place(dynamic)

    size = at + len(content)
    segments = [(1, 6, 0, size, 0x1000), (2, 6, dynamic_at, len(dynamic), 8)]
    if interpreter:
        segments.append((3, 4, interpreter_at, len(program), 1))
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, NUMBERS[machine], 1, 0, 64, 0, 0, 64, 56, len(segments), 64, 0, 0
    )
    for kind, flags, offset, length, alignment in segments:
        place_of = (offset, offset, offset, length, length)
        header += struct.pack("<IIQQQQQQ", kind, flags, *place_of, alignment)
    return header.ljust(at, b"\0") + bytes(content)


def linker(machine: str = "EM_X86_64", *, lib: str = "lib/x86_64-linux-gnu") -> bytes:
    """A file that says of itself what the replay reads from a real ld.so."""
    directories = f"/{lib}/\0/usr/{lib}/\0/lib/\0/usr/lib/\0"
    texts = f"\0{directories}\0{lib}\0\0x86-64-v4:x86-64-v3:x86-64-v2\0"
    soname = "ld-linux-x86-64.so.2" if machine == "EM_X86_64" else "ld-linux-aarch64.so.1"
    return build(soname, machine=machine, filler=texts.encode())


def _hash(name: str) -> int:
    """The System V gABI's hash of a symbol's name."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
    return value


def _step(last: bool, size: int) -> int:
    return 0 if last else size


def _marked(values: Sequence[T]) -> list[tuple[T, bool]]:
    return [(value, i == len(values) - 1) for i, value in enumerate(values)]
