"""Read from an ELF object what the dynamic linker would: needs, search paths, versions, symbols.

    read_elf(Path("/usr/bin/ffmpeg").read_bytes()).needed

After the System V gABI and the GNU extensions that glibc's ld.so implements (elf/dl-load.c,
dl-version.c). Like the linker it reads the program headers and the dynamic section, and it looks at
section headers for one thing only: the size of the symbol table of an object without DT_HASH.

Why not pyelftools: it takes eight times as long for the objects of an image, and longer with their
symbols. The tests compare the two, object by object.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tools.cli import ToolError
from tools.linux.architectures import ARCHITECTURES

MAGIC = b"\x7fELF"
# The last two are of machines that images are not built for; some packages carry their objects.
MACHINES = {each.elf_number: each.elf_machine for each in ARCHITECTURES.values()} | {
    3: "EM_386",
    40: "EM_ARM",
}

_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")  # type, machine, ..., phoff, shoff, ..., phnum, ...
_SEGMENT = struct.Struct("<IIQQQQ")  # type, flags, offset, vaddr, paddr, filesz
_SECTION = struct.Struct("<IIQQQQ")  # name, type, flags, addr, offset, size
_SECTION_SIZE = 64
_TAG = struct.Struct("<qQ")
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size
_NEED = struct.Struct("<HHIII")  # version, entries, file, first entry, next
_NEED_ENTRY = struct.Struct("<IHHII")  # hash, flags, index, name, next
_DEFINITION = struct.Struct("<HHHHIII")  # version, flags, index, names, hash, first name, next

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_SHT_DYNSYM = 11
_DT_NULL, _DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB = 0, 1, 4, 5, 6
_DT_SONAME, _DT_RPATH, _DT_RUNPATH, _DT_GNU_HASH = 14, 15, 29, 0x6FFFFEF5
_DT_VERSYM, _DT_FLAGS_1 = 0x6FFFFFF0, 0x6FFFFFFB
_DT_VERDEF, _DT_VERNEED = 0x6FFFFFFC, 0x6FFFFFFE
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
_DF_1_NODEFLIB = 0x800
_VER_FLG_WEAK = 0x2
_WEAK = 2
_VISIBLE = frozenset((1, _WEAK, 10))  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
_HIDDEN, _INDEX = 0x8000, 0x7FFF
# Names of an object, all together, per byte of it; above that, many point into one long text.
_MOST_NAMES, _MOST_NAMES_AT_LEAST = 16, 1 << 20


class ElfError(ToolError):
    """A damaged file: it begins like ELF and contradicts itself."""


@dataclass(frozen=True)
class Version:
    """A version that the object needs from a library; ld.so tolerates missing `weak` ones."""

    library: str
    name: str
    weak: bool = False


@dataclass(frozen=True)
class Symbol:
    """A symbol that another object has to define; `version` is "" if none is required."""

    name: str
    version: str = ""
    weak: bool = False


@dataclass(frozen=True)
class Elf:
    """One object. If it is not 64-bit little-endian, only the first three fields are set.

    `rpath` is None where there is a `runpath`, as for ld.so. `is_filter` is set by DT_FILTER and
    DT_AUXILIARY, with which Solaris libraries stand for others. `exports` maps a name to the
    versions it is defined in, each with whether it is the default one; "" is no version at all.
    """

    machine: str
    bits: int = 64
    endianness: str = "little"
    dynamic: bool = False
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    default_directories: bool = True
    is_filter: bool = False
    versions: tuple[Version, ...] = ()
    defined_versions: frozenset[str] = frozenset()
    imports: tuple[Symbol, ...] = ()
    exports: Mapping[str, tuple[tuple[str, bool], ...]] = field(default_factory=dict, repr=False)


def read_elf(content: bytes, *, symbols: bool = True) -> Elf:
    """Return what the object in `content` says; leaving out `symbols` is faster.

    Raise ElfError for a damaged object.
    """
    if content[:4] != MAGIC:
        raise ElfError("not an ELF object")
    if len(content) < 20:
        raise ElfError(f"damaged ELF object: it has {len(content)} bytes")
    order = {1: "little", 2: "big"}.get(content[5])
    bits = {1: 32, 2: 64}.get(content[4])
    if order is None or bits is None:
        raise ElfError(f"damaged ELF object: class {content[4]}, byte order {content[5]}")
    number = int.from_bytes(content[18:20], "little" if order == "little" else "big")
    machine = MACHINES.get(number, f"EM_{number}")
    if (bits, order) != (64, "little"):
        return Elf(machine, bits, order)
    try:
        return _Reader(content).read(machine, symbols=symbols)
    except (struct.error, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ElfError(f"damaged ELF object: {error!r}") from error


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        header = _HEADER.unpack_from(content)
        start, self._sections_at = header[4], header[5]
        size, count, self._section_count = header[8], header[9], header[11]
        self._segments = [_SEGMENT.unpack_from(content, start + i * size) for i in range(count)]
        self._tags: dict[int, int] = {}
        self._needed: list[int] = []
        self._names_left = max(_MOST_NAMES * len(content), _MOST_NAMES_AT_LEAST)

    def read(self, machine: str, *, symbols: bool) -> Elf:
        interpreter = None
        dynamic = False
        for kind, _, offset, _, _, length in self._segments:
            if kind == _PT_INTERP:
                raw = self._content[offset : offset + length]
                if len(raw) != length:
                    raise ValueError("the interpreter's name is cut off")
                interpreter = raw.rstrip(b"\0").decode()
            elif kind == _PT_DYNAMIC and length:
                dynamic = True
                self._read_tags(offset, length)
        if not dynamic:
            return Elf(machine, interpreter=interpreter)
        wanted, needed_names = self._needs()
        defined_names = self._definitions()
        imports: tuple[Symbol, ...] = ()
        exports: dict[str, tuple[tuple[str, bool], ...]] = {}
        if symbols and _DT_SYMTAB in self._tags:
            # One table for both: a program's copy of `stdin` is defined in libc's version.
            imports, exports = self._symbols(needed_names | defined_names)
        runpath = self._text(_DT_RUNPATH)
        return Elf(
            machine=machine,
            dynamic=True,
            interpreter=interpreter,
            soname=self._text(_DT_SONAME),
            needed=tuple(self._string(at) for at in self._needed),
            rpath=self._text(_DT_RPATH) if runpath is None else None,
            runpath=runpath,
            default_directories=not self._tags.get(_DT_FLAGS_1, 0) & _DF_1_NODEFLIB,
            is_filter=_DT_FILTER in self._tags or _DT_AUXILIARY in self._tags,
            versions=wanted,
            defined_versions=frozenset(defined_names.values()),
            imports=imports,
            exports=exports,
        )

    def _read_tags(self, offset: int, length: int) -> None:
        for position in range(offset, offset + length, _TAG.size):
            tag, value = _TAG.unpack_from(self._content, position)
            if tag == _DT_NULL:
                break
            if tag == _DT_NEEDED:
                self._needed.append(value)
            self._tags[tag] = value

    def _offset(self, address: int) -> int:
        for kind, _, offset, start, _, length in self._segments:
            if kind == _PT_LOAD and start <= address < start + length:
                return int(offset + address - start)
        raise ValueError(f"address {address:#x} is in no segment")

    def _string(self, at: int) -> str:
        begin = self._offset(self._tags[_DT_STRTAB] + at)
        end = self._content.index(b"\0", begin)
        self._names_left -= end - begin + 1
        if self._names_left < 0:
            raise ValueError("its names are longer than the file many times over")
        return self._content[begin:end].decode()

    def _text(self, tag: int) -> str | None:
        return self._string(self._tags[tag]) if tag in self._tags else None

    def _needs(self) -> tuple[tuple[Version, ...], dict[int, str]]:
        wanted: list[Version] = []
        names: dict[int, str] = {}
        if _DT_VERNEED not in self._tags:
            return (), names
        at = self._offset(self._tags[_DT_VERNEED])
        while True:  # ld.so goes by the links as well, not by the number of records
            _, count, file, first, following = _NEED.unpack_from(self._content, at)
            library = self._string(file)
            entry = at + first
            for _ in range(count):
                _, flags, index, name, step = _NEED_ENTRY.unpack_from(self._content, entry)
                version = self._string(name)
                wanted.append(Version(library, version, weak=bool(flags & _VER_FLG_WEAK)))
                names[index & _INDEX] = version
                entry += step
            at += following
            if not following:
                return tuple(wanted), names

    def _definitions(self) -> dict[int, str]:
        names: dict[int, str] = {}
        if _DT_VERDEF not in self._tags:
            return names
        at = self._offset(self._tags[_DT_VERDEF])
        while True:
            _, _, index, _, _, first, following = _DEFINITION.unpack_from(self._content, at)
            (name,) = struct.unpack_from("<I", self._content, at + first)
            names[index & _INDEX] = self._string(name)
            at += following
            if not following:
                return names

    def _symbols(
        self, names: Mapping[int, str]
    ) -> tuple[tuple[Symbol, ...], dict[str, tuple[tuple[str, bool], ...]]]:
        imports: list[Symbol] = []
        exports: dict[str, list[tuple[str, bool]]] = {}
        for (name, info, other, section, _, _), version in self._rows():
            binding = info >> 4
            if binding not in _VISIBLE or not name:
                continue
            text, index = self._string(name), version & _INDEX
            if section == 0:
                wanted = names[index] if index > 1 else ""
                imports.append(Symbol(text, wanted, weak=binding == _WEAK))
            elif (
                other & 3 in (0, 3) and index != 0
            ):  # STV_DEFAULT, STV_PROTECTED; not VER_NDX_LOCAL
                # Index 1 is the base: defined, in no version. ld.so compares by name.
                defined = names[index] if index > 1 else ""
                exports.setdefault(text, []).append((defined, not version & _HIDDEN))
        return tuple(imports), {name: tuple(found) for name, found in exports.items()}

    def _rows(self) -> Iterator[tuple[tuple[int, ...], int]]:
        count = self._symbol_count()
        begin = self._offset(self._tags[_DT_SYMTAB])
        table = self._content[begin : begin + count * _SYMBOL.size]
        if len(table) != count * _SYMBOL.size:
            raise ValueError("the symbol table is cut off")
        versions: tuple[int, ...] = (1,) * count
        if _DT_VERSYM in self._tags:
            at = self._offset(self._tags[_DT_VERSYM])
            versions = struct.unpack_from(f"<{count}H", self._content, at)
        return zip(_SYMBOL.iter_unpack(table), versions, strict=True)

    def _symbol_count(self) -> int:
        if _DT_HASH in self._tags:
            at = self._offset(self._tags[_DT_HASH])
            return int(struct.unpack_from("<I", self._content, at + 4)[0])
        # DT_GNU_HASH counts only what is defined; where there are sections, one tells the size.
        for i in range(self._section_count):
            section = _SECTION.unpack_from(self._content, self._sections_at + i * _SECTION_SIZE)
            if section[1] == _SHT_DYNSYM:
                return int(section[5] // _SYMBOL.size)
        return self._gnu_hash_count() if _DT_GNU_HASH in self._tags else 0

    def _gnu_hash_count(self) -> int:
        at = self._offset(self._tags[_DT_GNU_HASH])
        buckets, first, words, _ = struct.unpack_from("<4I", self._content, at)
        heads = struct.unpack_from(f"<{buckets}I", self._content, at + 16 + words * 8)
        last = max(heads, default=0)
        if last < first:
            return int(first)
        chain = at + 16 + words * 8 + buckets * 4
        while not struct.unpack_from("<I", self._content, chain + (last - first) * 4)[0] & 1:
            last += 1
        return int(last + 1)
