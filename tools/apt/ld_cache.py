"""Write /etc/ld.so.cache for a set of packages, as ldconfig(8) would, without running it.

The loader does not need the cache, since Debian's libraries lie where it looks anyway, but
ctypes.util.find_library does: it asks `ldconfig -p`. Writing it here rather than running ldconfig
makes it for any architecture on any machine.

The format is that of tools/elf/ld_so_cache.py, little-endian, which all architectures of Debian's
locks are. The choice of entries follows ldconfig's (elf/ldconfig.c); a test compares both with the
real ldconfig.
"""

import fnmatch
import functools
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.apt.deb_contents import Member, is_library_name
from tools.apt.paths import follow, merged
from tools.cli import ToolError
from tools.elf.ld_so_cache import ELF_LIBC6, ENTRY, HEADER, MAGIC, compare_names
from tools.linux.architectures import ARCHITECTURES

_LITTLE_ENDIAN = 2

# Built into Debian's ldconfig, after what ld.so.conf names.
_DEFAULT_DIRECTORIES = ("/lib", "/usr/lib")


@dataclass(frozen=True)
class Library:
    """An entry of the cache: the name that is asked for and the path that is opened."""

    soname: str
    path: str


def configured_directories(configuration: Mapping[str, bytes]) -> list[str]:
    """Return the directories of ld.so.conf, in order; `configuration` is its files by path.

    Raise ToolError for a directive that is not a directory or an include.
    """
    directories: list[str] = []
    _read_configuration("etc/ld.so.conf", configuration, directories)
    return list(dict.fromkeys([*directories, *_DEFAULT_DIRECTORIES]))


def _read_configuration(
    path: str, configuration: Mapping[str, bytes], directories: list[str]
) -> None:
    for raw in configuration.get(path, b"").decode("utf-8").splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("include"):
            pattern = line.removeprefix("include").strip()
            pattern = posixpath.normpath(posixpath.join("/etc", pattern)).lstrip("/")
            for included in sorted(configuration):
                if fnmatch.fnmatchcase(included, pattern):
                    _read_configuration(included, configuration, directories)
        elif line.startswith("/"):
            directories.append(posixpath.normpath(line))
        elif line:
            raise ToolError(f"/{path}: {line!r} is neither a directory nor an include")


def find_libraries(
    members: Mapping[str, Member],
    *,
    directories: Iterable[str],
    architecture: str,
) -> list[Library]:
    """Return what ldconfig would put in the cache, in the order of the cache.

    `members` is the whole tree by path. Raise ToolError for glibc-hwcaps directories, whose
    entries have a format of their own.
    """
    by_directory: dict[str, list[Member]] = {}
    for member in members.values():
        if "/glibc-hwcaps/" in member.path:
            raise ToolError(f"/{member.path}: glibc-hwcaps is not supported; exclude the path")
        if member.kind != "dir" and is_library_name(member.path):
            by_directory.setdefault(posixpath.dirname(member.path), []).append(member)
    found: list[Library] = []
    seen: set[str] = set()
    for directory in directories:
        # /lib and /usr/lib are one directory: ldconfig keeps the name it came to first.
        real = merged(f"{directory.lstrip('/')}/x").removesuffix("/x")
        if real in seen:
            continue
        seen.add(real)
        machine = ARCHITECTURES[architecture].elf_machine
        names = _directory_sonames(by_directory.get(real, []), members, machine)
        found += [Library(soname, f"{directory}/{soname}") for soname in names]
    # The loader searches by bisection, from high to low. Equal names stay in the order found.
    return sorted(found, key=functools.cmp_to_key(_compare_libraries))


def _directory_sonames(
    entries: Iterable[Member],
    members: Mapping[str, Member],
    machine: str,
) -> list[str]:
    chosen: set[str] = set()
    for entry in entries:
        real = resolve(entry.path, members)
        library = members[real].library if real is not None else None
        if real is None or library is None or library.machine != machine:
            continue
        name = library.soname or posixpath.basename(entry.path)
        if entry.kind == "symlink":
            base = posixpath.basename(real)
            # A link to the file that bears the soname, or a linker's libx.so → libx.so.1, is known
            # by its own name; any other is as good as the file.
            if base == name or (base.endswith(".so") and name.startswith(base)):
                name = posixpath.basename(entry.path)
        chosen.add(name)
    return sorted(chosen)


def resolve(path: str, members: Mapping[str, Member]) -> str | None:
    """Return the path of the file that `path` leads to through links; None if it leads nowhere."""

    def link_of(at: str) -> str | None:
        member = members.get(at)
        if member is None:
            return None
        if member.kind == "hardlink":
            return f"/{member.target}"
        return member.target if member.kind == "symlink" else None

    found = members.get(follow(path, link_of) or "")
    return found.path if found is not None and found.kind == "file" else None


def missing_links(libraries: Iterable[Library], members: Mapping[str, Member]) -> dict[str, str]:
    """Return the links soname → file that ldconfig makes where a package ships none."""
    links: dict[str, str] = {}
    for library in libraries:
        path = merged(library.path.lstrip("/"))
        if path in members:
            continue
        directory = posixpath.dirname(path)
        files = [
            posixpath.basename(member.path)
            for member in members.values()
            if member.library is not None
            and (member.library.soname or "") == library.soname
            and posixpath.dirname(member.path) == directory
        ]
        if files:
            links[path] = max(files, key=functools.cmp_to_key(compare_names))
    return links


def cache_bytes(libraries: Iterable[Library], *, architecture: str) -> bytes:
    """Return the content of ld.so.cache for libraries in the order of `find_libraries`."""
    entries = list(libraries)
    flags = ELF_LIBC6 | ARCHITECTURES[architecture].cache_flags
    strings = bytearray()
    offsets: dict[str, int] = {}
    base = HEADER.size + len(entries) * ENTRY.size
    packed = bytearray()
    for library in entries:
        for text in (library.soname, library.path):
            if text not in offsets:
                offsets[text] = base + len(strings)
                strings += text.encode() + b"\0"
        packed += ENTRY.pack(flags, offsets[library.soname], offsets[library.path], 0, 0)
    header = HEADER.pack(MAGIC, len(entries), len(strings), _LITTLE_ENDIAN, 0)
    return bytes(header + packed + strings)


def _compare_libraries(one: Library, other: Library) -> int:
    return compare_names(other.soname, one.soname)
