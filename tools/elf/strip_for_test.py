"""A small ELF object, and what a process would see of one, for tests of `strip.py`."""

import io
import struct

from elftools.elf.elffile import ELFFile

SEGMENTS_AT, TEXT_AT, DEBUG_AT, DATA_AT = 64, 0x200, 0x300, 0x9000
TEXT, DEBUG, DATA, SYMBOLS = b"text" * 64, b"debug!" * 2000, b"data" * 64, b"symbols." * 900
_NAMES = b"\0.text\0.debug_info\0.data\0.symtab\0.shstrtab\0"
_SYMTAB, _PROGBITS, _STRTAB, RELOCATABLE, _SHARED = 2, 1, 3, 1, 3
# Where a segment lies in the file is not seen by the process that maps it.
_PLACES = ("p_offset",)


def mapped(content: bytes) -> list[tuple[dict[str, object], bytes]]:
    """Return each segment's header, its place in the file aside, and its bytes.

    The ELF header and the program headers themselves are blanked: they say where things are in the
    file, and are part of the first segment.
    """
    file = ELFFile(io.BytesIO(content))
    blanked = bytearray(content)
    start, size = file["e_phoff"], file["e_phnum"] * file["e_phentsize"]
    blanked[: file["e_ehsize"]] = bytes(file["e_ehsize"])
    blanked[start : start + size] = bytes(size)
    result = []
    for segment in file.iter_segments():
        header: dict[str, object] = {
            key: value for key, value in segment.header.items() if key not in _PLACES
        }
        begin = segment["p_offset"]
        # What the kernel asks for: a page of the file is a page of memory.
        header["in page"] = (begin - segment["p_vaddr"]) % max(segment["p_align"], 1)
        result.append((header, bytes(blanked[begin : begin + segment["p_filesz"]])))
    return result


def object_with_symbols(*, kind: int = _SHARED) -> bytes:
    """An object with debugging information between its two segments and symbols behind them."""
    body = bytearray(DATA_AT)
    body[TEXT_AT : TEXT_AT + len(TEXT)] = TEXT
    body[DEBUG_AT : DEBUG_AT + len(DEBUG)] = DEBUG
    body += DATA
    symbols_at = len(body)
    body += SYMBOLS
    names_at = len(body)
    body += _NAMES
    sections_at = len(body)

    def section(name: bytes, what: int, flags: int, at: int, size: int) -> bytes:
        begin = _NAMES.index(name + b"\0") if name else 0
        address = at + 0x10000 if flags else 0
        return struct.pack("<IIQQQQIIQQ", begin, what, flags, address, at, size, 0, 0, 1, 0)

    body += section(b"", 0, 0, 0, 0)
    body += section(b".text", _PROGBITS, 2, TEXT_AT, len(TEXT))
    body += section(b".debug_info", _PROGBITS, 0, DEBUG_AT, len(DEBUG))
    body += section(b".data", _PROGBITS, 2, DATA_AT, len(DATA))
    body += section(b".symtab", _SYMTAB, 0, symbols_at, len(SYMBOLS))
    body += section(b".shstrtab", _STRTAB, 0, names_at, len(_NAMES))
    struct.pack_into(
        "<16sHHIQQQIHHHHHH",
        body,
        0,
        b"\x7fELF\x02\x01\x01",
        *(kind, 0x3E, 1, 0, SEGMENTS_AT, sections_at, 0, 64, 56, 2, 64, 6, 5),
    )
    for number, (at, size) in enumerate([(0, TEXT_AT + len(TEXT)), (DATA_AT, len(DATA))]):
        place = (at, at + 0x10000, at + 0x10000, size, size, 0x1000)
        struct.pack_into("<IIQQQQQQ", body, SEGMENTS_AT + 56 * number, 1, 4, *place)
    return bytes(body)
