"""The dynamic linker's search, replayed on any file system: which file is loaded for which need.

    linker = find_linker(files, machine="EM_X86_64")
    loading = load("/usr/bin/ffmpeg", files=files, linker=linker)

Follows glibc's ld.so (elf/dl-load.c, dl-deps.c, dl-version.c; ld.so(8)) without environment
variables: RPATH of the whole chain of loaders unless the object has a RUNPATH, RUNPATH for its
own needs only, ld.so.cache, the directories built into the linker, unless DF_1_NODEFLIB. $ORIGIN,
$LIB and $PLATFORM are expanded, glibc-hwcaps directories come first, names that are loaded already
are not searched for. A test compares it with `ld.so --list`, object by object.
"""

from __future__ import annotations

import bisect
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from tools.cli import ToolError
from tools.elf import ld_so_cache
from tools.elf.elf import Elf
from tools.elf.ld_so_cache import CacheEntry
from tools.linux.architectures import BY_ELF_MACHINE, Architecture

NOWHERE = "is in none of them"  # The cause of a need for which no file was found.
_SYSTEM_DIRECTORIES = re.compile(rb"(?:/[\w./-]*lib[\w./-]*/\0)+")
_LIB = re.compile(rb"\0(lib[\w/-]*)\0")
_HWCAPS = re.compile(rb"\0(x86-64-v\d(?::x86-64-v\d)*)\0")
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


class Files(Protocol):
    """The file system that is searched; all paths are absolute."""

    def realpath(self, path: str) -> str | None:
        """Return the regular file that `path` leads to, without links; None if there is none."""

    def elf(self, path: str) -> Elf | None:
        """Return what the object at a real path says; None if it is not an ELF object."""

    def read(self, path: str) -> bytes:
        """Return the content of a real path; asked for linkers and caches only."""


@dataclass(frozen=True)
class Linker:
    """One dynamic linker, with what is built into it and the processor it runs on.

    `hwcaps` are the subdirectories tried first in every directory, the best one first; the
    default, none, is the oldest processor.
    """

    path: str
    real: str
    machine: str
    soname: str
    directories: tuple[str, ...]
    lib: str
    platform: str
    known_hwcaps: tuple[str, ...] = ()
    hwcaps: tuple[str, ...] = ()
    cache: tuple[CacheEntry, ...] = ()

    def on(self, platform: str, hwcaps: tuple[str, ...]) -> Linker:
        """Return the same linker on another processor."""
        return replace(self, platform=platform, hwcaps=hwcaps)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A loaded object: the `name` asked for, its path as the linker spells it, the real file.

    `by` is the object that brought it in.
    """

    name: str
    path: str
    real: str
    elf: Elf = field(repr=False)
    by: Loaded | None = field(repr=False, default=None)

    def chain(self) -> str:
        """Return the chain of loaders, from the program down: "/usr/bin/a → /usr/lib/libb.so"."""
        return f"{self.by.chain()} → {self.real}" if self.by else self.real


@dataclass(frozen=True)
class Unmet:
    """A need that no file meets; `searched` are the places tried, `cause` is the reason."""

    object: Loaded = field(repr=False)
    need: str
    cause: str
    searched: tuple[str, ...] = ()


@dataclass
class Loading:
    """What loading one object brings in, breadth first, and what it lacks."""

    order: list[Loaded] = field(default_factory=list)
    needs: list[tuple[Loaded, str, Loaded]] = field(default_factory=list)
    unmet: list[Unmet] = field(default_factory=list)


def find_linker(files: Files, *, machine: str, interpreter: str | None = None) -> Linker:
    """Return the linker of a program with this interpreter, or the machine's usual one.

    Raise ToolError when it does not exist or is not glibc's.
    """
    architecture = BY_ELF_MACHINE.get(machine)
    if architecture is None:
        raise ToolError(f"no dynamic linker is known for machine {machine}")
    path = interpreter or architecture.loader
    real = files.realpath(path)
    elf = files.elf(real) if real is not None else None
    if real is None or elf is None:
        raise ToolError(f"the dynamic linker {path} does not exist")
    if elf.machine != machine:
        raise ToolError(f"the dynamic linker {path} is for {elf.machine}, expected {machine}")
    content = files.read(real)
    found = _SYSTEM_DIRECTORIES.search(content)
    lib = next((m for m in _LIB.finditer(content) if b".so" not in m[1]), None)
    if found is None:
        raise ToolError(
            f"the dynamic linker {path} has no list of directories as glibc's has; other C "
            "libraries' linkers follow rules that are not replayed here"
        )
    directories = tuple(text.decode().rstrip("/") for text in found[0].split(b"\0") if text)
    hwcaps = _HWCAPS.search(content)
    cache = files.realpath(ld_so_cache.PATH)
    return Linker(
        path=path,
        real=real,
        machine=machine,
        soname=elf.soname or posixpath.basename(path),
        directories=directories,
        lib=lib[1].decode() if lib else directories[0].lstrip("/"),
        platform=architecture.platforms[0],
        known_hwcaps=tuple(hwcaps[1].decode().split(":")) if hwcaps else (),
        cache=_usable(ld_so_cache.read_cache(files.read(cache)), architecture) if cache else (),
    )


def _usable(entries: Iterable[CacheEntry], architecture: Architecture) -> tuple[CacheEntry, ...]:
    wanted = (1, ld_so_cache.ELF_LIBC6 | architecture.cache_flags)
    return tuple(entry for entry in entries if entry.flags in wanted)


def expand(text: str, *, linker: Linker, origin: str) -> str:
    """Replace $ORIGIN, $LIB and $PLATFORM, with or without braces; other names stay."""
    values = {"ORIGIN": origin, "LIB": linker.lib, "PLATFORM": linker.platform}
    return _TOKEN.sub(lambda match: values[match[1] or match[2]], text)


def search_path(text: str | None, *, linker: Linker, origin: str) -> tuple[str, ...]:
    """Return the directories of an RPATH or RUNPATH. An empty one is the current directory: '.'."""
    if text is None:
        return ()
    parts = (expand(part, linker=linker, origin=origin) for part in text.split(":"))
    return tuple((part.rstrip("/") or "/") if part else "." for part in parts)


def load(real: str, *, files: Files, linker: Linker) -> Loading:
    """Load the object at a real path with everything it needs, as a program of its own.

    Raise ToolError when there is no object.
    """
    elf = files.elf(real)
    if elf is None:
        raise ToolError(f"{real}: not an ELF object")
    return _Process(files, linker).load(Loaded(real, real, real, elf))


class _Process:
    def __init__(self, files: Files, linker: Linker) -> None:
        self._files = files
        self._linker = linker
        self._loading = Loading()
        self._names: dict[str, Loaded] = {}
        self._reals: dict[str, Loaded] = {}
        itself = files.elf(linker.real)
        # The linker is in memory before anything is searched for.
        if itself is not None:
            loader = Loaded(linker.soname, linker.path, linker.real, itself)
            self._names |= {linker.soname: loader, linker.path: loader}
            self._reals[linker.real] = loader

    def load(self, main: Loaded) -> Loading:
        self._add(main)
        for loaded in self._loading.order:  # grows meanwhile, and so goes breadth first
            for need in loaded.elf.needed:
                name = self._expand(need, loaded)
                found = self._names.get(name) or self._search(name, loaded, need)
                if found is not None:
                    self._names[name] = found
                    self._loading.needs.append((loaded, need, found))
        return self._loading

    def _expand(self, text: str, of: Loaded) -> str:
        return expand(text, linker=self._linker, origin=posixpath.dirname(of.path))

    def _add(self, loaded: Loaded) -> None:
        self._loading.order.append(loaded)
        self._reals[loaded.real] = loaded
        for name in (loaded.name, loaded.path, loaded.elf.soname):
            if name is not None:
                self._names.setdefault(name, loaded)

    def _search(self, name: str, by: Loaded, need: str) -> Loaded | None:
        searched: list[str] = []
        for candidate in self._candidates(name, by, searched):
            real = self._files.realpath(candidate)
            if real is None:
                continue
            elf = self._files.elf(real)
            if elf is None:
                cause = f"is not an ELF object at {candidate}"
                self._loading.unmet.append(Unmet(by, need, cause, tuple(searched)))
                return None
            if (elf.machine, elf.bits) != (by.elf.machine, by.elf.bits):
                searched.append(f"{candidate}: is for {elf.machine}")
                continue
            if real in self._reals:
                return self._reals[real]
            found = Loaded(name, candidate, real, elf, by)
            self._add(found)
            return found
        self._loading.unmet.append(Unmet(by, need, NOWHERE, tuple(searched)))
        return None

    def _candidates(self, name: str, by: Loaded, searched: list[str]) -> Iterable[str]:
        if "/" in name:
            searched.append(name)
            yield name
            return
        yield from self._in(self._rpaths(by), name, searched, "RPATH")
        origin = posixpath.dirname(by.path)
        own = search_path(by.elf.runpath, linker=self._linker, origin=origin)
        yield from self._in(own, name, searched, "RUNPATH")
        searched.append(ld_so_cache.PATH)
        cached = self._cached(name)
        if cached is not None and (by.elf.default_directories or not self._is_default(cached)):
            yield cached
        if by.elf.default_directories:
            yield from self._in(self._linker.directories, name, searched, "default")

    def _rpaths(self, by: Loaded) -> Iterable[str]:
        if by.elf.runpath is not None:
            return
        chain: Loaded | None = by
        while chain is not None:
            origin = posixpath.dirname(chain.path)
            yield from search_path(chain.elf.rpath, linker=self._linker, origin=origin)
            chain = chain.by

    def _in(
        self, directories: Iterable[str], name: str, searched: list[str], why: str
    ) -> Iterable[str]:
        for directory in directories:
            searched.append(f"{directory} ({why})")
            for subdirectory in self._linker.hwcaps:
                yield posixpath.join(directory, "glibc-hwcaps", subdirectory, name)
            yield posixpath.join(directory, name)

    def _is_default(self, path: str) -> bool:
        return any(path.startswith(f"{directory}/") for directory in self._linker.directories)

    def _cached(self, name: str) -> str | None:
        """Return the cache's answer, by bisection: what an unsorted cache hides stays hidden."""
        entries = self._linker.cache
        # Sorted from high to low: compare_names(entry, name) < 0 comes after what is wanted.
        begin = bisect.bisect_left(
            entries, 0, key=lambda e: -ld_so_cache.compare_names(e.name, name)
        )
        usable: list[tuple[int, str]] = []
        for entry in entries[begin:]:
            if ld_so_cache.compare_names(entry.name, name) != 0:
                break
            if entry.hwcaps in self._linker.hwcaps:
                usable.append((self._linker.hwcaps.index(entry.hwcaps), entry.path))
            elif not entry.hwcaps:
                usable.append((len(self._linker.hwcaps), entry.path))
        return min(usable, key=lambda pair: pair[0])[1] if usable else None


def unmet_versions(loading: Loading) -> list[Unmet]:
    """Return the symbol versions that no loaded library defines, as _dl_check_all_versions."""
    found = []
    providers = {(id(by), need): library for by, need, library in loading.needs}
    named = {name: each for each in loading.order for name in (each.name, each.elf.soname)}
    for loaded in loading.order:
        for version in loaded.elf.versions:
            provider = providers.get((id(loaded), version.library)) or named.get(version.library)
            if provider is None or version.weak or version.name in provider.elf.defined_versions:
                continue
            has = "does not define it" if provider.elf.defined_versions else "defines no versions"
            cause = f"{provider.path}, which is loaded for {version.library}, {has}"
            found.append(Unmet(loaded, f"version {version.name}", cause))
    return found


def undefined_symbols(loaded: Loaded, scope: Iterable[Loaded]) -> list[str]:
    """Return the symbols of `loaded` that nothing in `scope` defines, as do_lookup_x does."""
    wanted: dict[str, set[str]] = {}
    for symbol in loaded.elf.imports:
        if not symbol.weak:
            wanted.setdefault(symbol.name, set()).add(symbol.version)
    for each in scope:
        for name in wanted.keys() & each.elf.exports.keys():
            versions = each.elf.exports[name]
            left = {version for version in wanted.pop(name) if not _matches(version, versions)}
            if left:
                wanted[name] = left
    return sorted(
        f"{name}@{version}" if version else name
        for name, versions in wanted.items()
        for version in versions
    )


def _matches(wanted: str, versions: Iterable[tuple[str, bool]]) -> bool:
    if not wanted:
        return any(default for _, default in versions)
    # A definition without any version answers whatever version is asked for.
    return any(name == wanted or (not name and default) for name, default in versions)
