"""Reads from an ELF object what the dynamic loader would: the libraries and versions it needs.

After the System V gABI and the GNU symbol versioning that ld.so implements; pyelftools does the
parsing.
"""

import io
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.segments import InterpSegment

MAGIC = b"\x7fELF"


class ElfError(Exception):
    """A file that begins as ELF and cannot be read as such."""


@dataclass(frozen=True)
class Elf:
    """One object. `search` is its RUNPATH, or its RPATH where it has no RUNPATH."""

    machine: str
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    wanted_versions: tuple[tuple[str, str], ...] = ()
    defined_versions: frozenset[str] = frozenset()


def read_elf(content: bytes) -> Elf:
    """Return what the object in `content` needs; raises ElfError when it is damaged."""
    try:
        file = ELFFile(io.BytesIO(content))
        needed: list[str] = []
        soname: str | None = None
        rpath: str | None = None
        runpath: str | None = None
        interpreter = None
        for segment in file.iter_segments():
            if isinstance(segment, InterpSegment):
                interpreter = segment.get_interp_name()
            elif isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    # pyelftools puts each string into an attribute named after its tag.
                    texts = vars(tag)
                    needed += [texts["needed"]] if "needed" in texts else []
                    soname = texts.get("soname", soname)
                    rpath = texts.get("rpath", rpath)
                    runpath = texts.get("runpath", runpath)
        # Debian strips symbols, never these sections: without them no version could be checked.
        wanted: list[tuple[str, str]] = []
        defined: set[str] = set()
        for section in file.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for library, versions in section.iter_versions():
                    # 0x2 is VER_FLG_WEAK: ld.so does not insist on those.
                    wanted += [
                        (str(library.name), str(version.name))
                        for version in versions
                        if not version.entry.vna_flags & 0x2
                    ]
            elif isinstance(section, GNUVerDefSection):
                for _, versions in section.iter_versions():
                    defined.add(str(next(versions).name))
        search = runpath if runpath is not None else rpath
        return Elf(
            machine=file["e_machine"],
            interpreter=interpreter,
            soname=soname,
            needed=tuple(needed),
            search=tuple(search.split(":")) if search else (),
            wanted_versions=tuple(wanted),
            defined_versions=frozenset(defined),
        )
    except (ELFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise ElfError(f"not readable as ELF: {error!r}") from error
