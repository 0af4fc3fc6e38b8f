"""Readers of ELF objects and of the linker's cache."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from tools.elf.elf import ElfError, read_elf
from tools.elf.elf_for_test import build
from tools.elf.ld_so_cache import ELF_LIBC6, ENTRY, HEADER, MAGIC, read_cache, unsorted_names
from tools.elf.strip import strip_object
from tools.fuzz.harness import Reader
from tools.fuzz.mutation import damaged

_OBJECTS = (
    build(
        "libz.so.1",
        needed=["libc.so.6", "libm.so.6"],
        runpath="$ORIGIN/../lib",
        wants={"libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.34"]},
        defines=["ZLIB_1.2"],
        imports=[("malloc", "GLIBC_2.2.5"), ("cos", "")],
        exports=[("inflate", "ZLIB_1.2"), ("plain", "")],
    ),
    build(interpreter="/lib64/ld-linux-x86-64.so.2", needed=["libz.so.1"], rpath="/opt/lib"),
)


def read_object(content: bytes, _: Path) -> None:
    """Read an object, with its symbols and without; pyelftools finds the same needs in it."""
    found = read_elf(content)
    bare = read_elf(content, symbols=False)
    assert replace(found, imports=(), exports={}) == bare
    if not found.needed:
        return
    try:
        theirs = tuple(
            vars(tag)["needed"]
            for segment in ELFFile(io.BytesIO(content)).iter_segments()
            if isinstance(segment, DynamicSegment)
            for tag in segment.iter_tags("DT_NEEDED")
        )
    except Exception:  # noqa: BLE001 - it raises what comes
        return
    assert found.needed == theirs


def strip(content: bytes, _: Path) -> None:
    """Strip an object; doing it again changes nothing, and it never grows."""
    once = strip_object(content)
    assert len(once) <= len(content)
    with contextlib.suppress(ElfError):
        if read_elf(content, symbols=False).dynamic and once != content:
            assert read_elf(once, symbols=False) == read_elf(content, symbols=False)


def read_linker_cache(content: bytes, _: Path) -> None:
    """Read a cache, and compare its names as the loader would."""
    unsorted_names(read_cache(content))


def _cache() -> bytes:
    names = ("liba.so.1", "libb.so.10", "libb.so.9")
    strings = b"".join(b"%b\0/usr/lib/%b\0" % (name, name) for name in map(str.encode, names))
    base = HEADER.size + len(names) * ENTRY.size
    rows = b""
    at = base
    for name in names:
        rows += ENTRY.pack(ELF_LIBC6, at, at + len(name) + 1, 0, 0)
        at += 2 * len(name) + len("/usr/lib/") + 2
    return HEADER.pack(MAGIC, len(names), len(strings), 2, 0) + rows + strings


_CACHE = _cache()
_OLD = b"ld.so-1.7.0\0" + (1).to_bytes(4, "little") + bytes(16) + _CACHE

READERS = (
    Reader("elf", damaged(*_OBJECTS), read_object, refusals=(ElfError,)),
    Reader("strip", damaged(*_OBJECTS), strip),
    Reader("ld_so_cache", damaged(_CACHE, _OLD), read_linker_cache),
)
