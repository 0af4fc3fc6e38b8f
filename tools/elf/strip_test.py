"""Stripping: what is mapped stays, what only a debugger reads goes."""

from __future__ import annotations

import io
import struct

import pytest
from elftools.elf.elffile import ELFFile

from tools.cli import ToolError
from tools.elf.strip import strip_object
from tools.elf.strip_for_test import (
    DATA,
    DEBUG,
    RELOCATABLE,
    SEGMENTS_AT,
    SYMBOLS,
    TEXT,
    mapped,
    object_with_symbols,
)


def test_what_is_mapped_stays_and_what_is_for_debuggers_goes() -> None:
    before = object_with_symbols()
    after = strip_object(before)
    assert mapped(after) == mapped(before)
    assert b"debug!" not in after
    assert b"symbols." not in after
    assert len(after) < len(before) - len(DEBUG) - len(SYMBOLS)


def test_the_sections_that_stay_are_still_found_by_name() -> None:
    file = ELFFile(io.BytesIO(strip_object(object_with_symbols())))
    assert [section.name for section in file.iter_sections()] == ["", ".text", ".data", ".shstrtab"]
    for name, content in ((".text", TEXT), (".data", DATA)):
        section = file.get_section_by_name(name)
        assert section is not None
        assert section.data() == content


def test_stripping_twice_changes_nothing_more() -> None:
    once = strip_object(object_with_symbols())
    assert strip_object(once) == once


@pytest.mark.parametrize(
    "content",
    [b"", b"import os\n", b"\x7fELF\x01\x01\x01 of 32 bits", object_with_symbols(kind=RELOCATABLE)],
    ids=["empty", "text", "32 bits", "relocatable"],
)
def test_other_files_are_left_unchanged(content: bytes) -> None:
    assert strip_object(content) == content


def _damaged(at: int, value: int) -> bytes:
    content = bytearray(object_with_symbols())
    struct.pack_into("<Q", content, at, value)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        object_with_symbols()[:100],
        _damaged(40, 1 << 40),  # e_shoff
        _damaged(SEGMENTS_AT + 32, 1 << 40),  # p_filesz
    ],
    ids=["cut short", "sections outside", "segment outside"],
)
def test_a_damaged_object_is_an_error(content: bytes) -> None:
    with pytest.raises(ToolError, match="damaged ELF object"):
        strip_object(content)
