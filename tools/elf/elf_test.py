"""The reader against pyelftools on the objects of this process, and on damaged ones."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

from tools.elf.elf import ElfError, Symbol, Version, read_elf
from tools.elf.elf_for_test import NODEFLIB, build

# What this interpreter has mapped: itself, its linker, the C library, extension modules.
OBJECTS = sorted(
    {
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if re.search(r"/\S*(\.so[.\d]*|python3\.\d+|ld-linux\S*)$", line)
    }
)


@pytest.mark.parametrize("path", OBJECTS)
def test_real_objects_read_as_pyelftools_reads_them(path: str) -> None:
    content = Path(path).read_bytes()
    ours, theirs = read_elf(content), ELFFile(io.BytesIO(content))
    tags = [
        tag
        for segment in theirs.iter_segments()
        if isinstance(segment, DynamicSegment)
        for tag in segment.iter_tags()
    ]
    texts = [vars(tag) for tag in tags]
    assert ours.machine == theirs["e_machine"]
    assert ours.needed == tuple(text["needed"] for text in texts if "needed" in text)
    assert ours.soname == next((text["soname"] for text in texts if "soname" in text), None)
    assert ours.runpath == next((text["runpath"] for text in texts if "runpath" in text), None)

    sections = list(theirs.iter_sections())
    wanted = [
        (library.name, version.name)
        for section in sections
        if isinstance(section, GNUVerNeedSection)
        for library, versions in section.iter_versions()
        for version in versions
    ]
    assert [(each.library, each.name) for each in ours.versions] == wanted
    defined = {
        next(versions).name
        for section in sections
        if isinstance(section, GNUVerDefSection)
        for _, versions in section.iter_versions()
    }
    assert ours.defined_versions == defined
    symbols = next(s for s in sections if isinstance(s, SymbolTableSection) and s.name == ".dynsym")
    hidden = next((s for s in sections if isinstance(s, GNUVerSymSection)), None)
    imports, exports = set(), set()
    for index, symbol in enumerate(symbols.iter_symbols()):
        if symbol["st_info"]["bind"] not in ("STB_GLOBAL", "STB_WEAK", "STB_LOOS"):
            continue
        if symbol["st_shndx"] == "SHN_UNDEF":
            imports.add(symbol.name)
        elif hidden is None or hidden.get_symbol(index)["ndx"] != "VER_NDX_LOCAL":
            exports.add(symbol.name)
    assert {symbol.name for symbol in ours.imports} == imports
    assert set(ours.exports) == exports


def test_enough_real_objects_are_compared() -> None:
    assert len(OBJECTS) >= 3


def test_everything_that_is_built_is_read() -> None:
    content = build(
        "liba.so.1",
        needed=["libb.so", "libc.so"],
        rpath="/opt:$ORIGIN",
        interpreter="/lib/ld.so",
        flags_1=NODEFLIB,
        wants={"libb.so": ["B_1", "B_2"], "libc.so": ["C_1"]},
        defines=["A_1"],
        imports=[("f", "B_2"), ("g", "")],
        exports=[("h", "A_1"), ("i", "")],
    )
    elf = read_elf(content)
    assert elf.soname == "liba.so.1"
    assert elf.needed == ("libb.so", "libc.so")
    assert (elf.rpath, elf.runpath) == ("/opt:$ORIGIN", None)
    assert elf.interpreter == "/lib/ld.so"
    assert not elf.default_directories
    assert elf.versions == (
        Version("libb.so", "B_1"),
        Version("libb.so", "B_2"),
        Version("libc.so", "C_1"),
    )
    assert elf.defined_versions == {"A_1"}
    assert elf.imports == (Symbol("f", "B_2"), Symbol("g"))
    assert elf.exports == {"h": (("A_1", True),), "i": (("", True),)}
    assert read_elf(content, symbols=False).imports == ()


def test_an_rpath_beside_a_runpath_is_void() -> None:
    elf = read_elf(build(rpath="/a", runpath="/b"))
    assert (elf.rpath, elf.runpath) == (None, "/b")


def test_foreign_objects_are_only_identified() -> None:
    content = bytearray(build())
    content[4], content[18] = 1, 3
    assert (read_elf(bytes(content)).machine, read_elf(bytes(content)).bits) == ("EM_386", 32)
    content[5:6], content[18:20] = b"\2", b"\0\x16"
    assert read_elf(bytes(content)).endianness == "big"
    assert read_elf(bytes(content)).machine == "EM_22"


def test_truncated_or_corrupted_objects_never_crash_the_reader() -> None:
    content = build("liba.so", needed=["libb.so"], wants={"libb.so": ["B_1"]}, defines=["A_1"])
    for length in range(len(content)):
        with pytest.raises(ElfError):
            read_elf(content[:length])
    for at in range(len(content)):
        changed = content[:at] + b"\xff" + content[at + 1 :]
        try:
            read_elf(changed)
        except ElfError:
            continue


def test_filters_are_noticed() -> None:
    content = build("liba.so", flags_1=1)
    filtered = content.replace(
        (0x6FFFFFFB).to_bytes(8, "little"), (0x7FFFFFFF).to_bytes(8, "little")
    )
    assert read_elf(filtered).is_filter
    assert not read_elf(content).is_filter


def test_names_that_all_point_into_one_long_text_are_refused() -> None:
    # 60,000 entries of a version, all at the same place, with a name of 30 kB: 2 GB of text.
    content = bytearray(build("a.so", wants={"libc.so.6": ["V" * 30_000]}))
    at = content.index(struct.pack("<HHI", 1, 1, content.index(b"libc.so.6") * 0 + 1)[:4])
    content[at + 2 : at + 4] = struct.pack("<H", 60_000)
    with pytest.raises(ElfError, match="its names are longer than the file many times over"):
        read_elf(bytes(content))
