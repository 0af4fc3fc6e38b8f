"""What the ELF objects of an image lack when ld.so loads them, replayed by tools/elf/linker.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tools.cli import ToolError
from tools.elf import ld_so_cache
from tools.elf.elf import Elf
from tools.elf.linker import (
    Linker,
    Loaded,
    Loading,
    Unmet,
    find_linker,
    load,
    undefined_symbols,
    unmet_versions,
)
from tools.image.image_files import ImageFiles
from tools.linux.architectures import BY_ELF_MACHINE
from tools.proof.findings import Finding

_SHOWN_SYMBOLS = 6


def is_native(elf: Elf, machine: str) -> bool:
    """Return whether the machine can load an object."""
    return (elf.machine, elf.bits, elf.endianness) == (machine, 64, "little")


def foreign_objects(objects: Mapping[str, Elf], image: ImageFiles) -> Iterator[Finding]:
    """Yield a finding for each object of another machine than the image's."""
    for path, elf in objects.items():
        if not is_native(elf, image.machine):
            yield Finding(
                "machines",
                path,
                f"is a {elf.bits}-bit {elf.endianness}-endian object for {elf.machine}, "
                f"the image is 64-bit little-endian {image.machine}",
            )


def object_findings(native: Mapping[str, Elf], image: ImageFiles) -> Iterator[Finding]:
    """Yield what the objects lack, on each processor that makes a difference in this image."""
    for path, elf in native.items():
        if not image.mode(path) & 0o004:
            yield Finding("modes", path, "cannot be read by the image's user, who has to load it")
        if elf.is_filter:
            yield Finding("libraries", path, "is a filter (DT_FILTER), which is not replayed")
        for text in (*search_path_texts(elf), *elf.needed):
            if not text.startswith(("/", "$")) and (text == "" or "/" in text):
                yield Finding(
                    "search_paths",
                    path,
                    f"searches {text!r}, which is relative to the current directory",
                )
    dynamic = {path: elf for path, elf in native.items() if elf.dynamic}
    if not dynamic:
        return
    linkers: dict[str | None, Linker] = {}
    for path, elf in native.items():
        if elf.interpreter not in linkers and (elf.dynamic or elf.interpreter):
            try:
                linkers[elf.interpreter] = find_linker(
                    image, machine=image.machine, interpreter=elf.interpreter
                )
            except ToolError as error:
                yield Finding("linkers", path, f"cannot be started: {error}")
    yield from _linker_modes(linkers, image)
    for processor in _processors(native, image):
        yield from _on_processor(dynamic, image, linkers, processor)


def search_path_texts(elf: Elf) -> tuple[str, ...]:
    """Return the directories of an object's RPATH or RUNPATH, unexpanded."""
    text = elf.rpath if elf.runpath is None else elf.runpath
    return tuple(text.split(":")) if text is not None else ()


def _linker_modes(linkers: Mapping[str | None, Linker], image: ImageFiles) -> Iterator[Finding]:
    for linker in {each.real: each for each in linkers.values()}.values():
        if not image.mode(linker.real) & 0o001:
            yield Finding("modes", linker.real, "is a program's linker and cannot be executed")
    cached = next(iter(linkers.values())).cache if linkers else ()
    wrong = ld_so_cache.unsorted_names(cached)
    if wrong is not None:
        yield Finding(
            "cache", ld_so_cache.PATH, f"is not sorted: {wrong[0]!r} stands before {wrong[1]!r}"
        )
    for entry in cached:
        real = image.realpath(entry.path)
        if real is None or image.files[real].elf is None:
            yield Finding(
                "cache", ld_so_cache.PATH, f"lists {entry.path}, which is not an object here"
            )


@dataclass(frozen=True)
class _Processor:
    platform: str
    hwcaps: tuple[str, ...]


def _processors(native: Mapping[str, Elf], image: ImageFiles) -> list[_Processor]:
    """Return the oldest processor, and each other one that makes a difference in this image."""
    levels = sorted(
        {
            path.partition("/glibc-hwcaps/")[2].partition("/")[0]
            for path in native
            if "/glibc-hwcaps/" in path
        },
        reverse=True,
    )
    texts = [text for elf in native.values() for text in (*search_path_texts(elf), *elf.needed)]
    platforms = BY_ELF_MACHINE[image.machine].platforms
    if not any("PLATFORM" in text for text in texts):
        platforms = platforms[:1]
    # A processor of one level takes that level's libraries before those of the levels below.
    return [
        _Processor(platform, tuple(levels[start:]))
        for platform in platforms
        for start in range(len(levels), -1, -1)
    ]


@dataclass
class _Lack:
    """One thing that an object lacks: alone, or where something else loads it."""

    finding: Finding
    chains: list[str] = field(default_factory=list)


def _on_processor(
    dynamic: Mapping[str, Elf],
    image: ImageFiles,
    linkers: Mapping[str | None, Linker],
    processor: _Processor,
) -> Iterator[Finding]:
    loadings: dict[str, Loading] = {}
    for path, elf in dynamic.items():
        linker = linkers.get(elf.interpreter)
        if linker is not None:
            linker = linker.on(processor.platform, processor.hwcaps)
            loadings[path] = load(path, files=image, linker=linker)
    parts = {each.real for loading in loadings.values() for each in loading.order[1:]}
    lacks: dict[tuple[str, str, str], _Lack] = {}
    for root, loading in loadings.items():
        unmet = [("libraries", each) for each in loading.unmet]
        unmet += [("versions", each) for each in unmet_versions(loading)]
        for kind, each in unmet:
            key = (kind, each.object.real, each.need)
            lack = lacks.setdefault(key, _Lack(_unmet_finding(kind, each)))
            if each.object.real != root:
                lack.chains.append(each.object.chain())
    for lack in lacks.values():
        # Alone it lacks something, and wherever it is loaded by another it does not.
        if lack.chains or lack.finding.path not in parts:
            yield _with_chains(lack)
    yield from _symbols(loadings, linkers, image)


def _unmet_finding(kind: str, unmet: Unmet) -> Finding:
    if kind == "versions":
        return Finding(kind, unmet.object.real, f"needs {unmet.need}; {unmet.cause}")
    return Finding(
        kind,
        unmet.object.real,
        f"needs {unmet.need}, which {unmet.cause}:",
        unmet.searched,
    )


def _with_chains(lack: _Lack) -> Finding:
    chains = sorted(set(lack.chains), key=lambda chain: (len(chain), chain))
    return replace(lack.finding, loaders=tuple(chains))


def _symbols(
    loadings: Mapping[str, Loading], linkers: Mapping[str | None, Linker], image: ImageFiles
) -> Iterator[Finding]:
    """Yield symbols that an object imports and nothing that is loaded with it defines.

    Of a module that a program opens, the program may define them: Python its own interface.
    """
    scopes = {path: _scope(loading, linkers, image) for path, loading in loadings.items()}
    programs = [path for path in loadings if loadings[path].order[0].elf.interpreter]
    for path, loading in loadings.items():
        own = loading.order[0]
        alone = undefined_symbols(own, scopes[path])
        if not alone:
            continue
        loaders = [
            root
            for root, other in loadings.items()
            if root != path and any(each.real == path for each in other.order)
        ]
        if loaders:
            left = max((undefined_symbols(own, scopes[root]) for root in loaders), key=len)
        else:
            opened = [undefined_symbols(own, [*scopes[path], *scopes[p]]) for p in programs]
            left = min([alone, *opened], key=len)
        if left:
            more = f" and {len(left) - _SHOWN_SYMBOLS} more" if len(left) > _SHOWN_SYMBOLS else ""
            text = f"imports what nothing with it defines: {', '.join(left[:_SHOWN_SYMBOLS])}{more}"
            yield Finding("symbols", path, text, loaders=tuple(loaders))


def _scope(
    loading: Loading, linkers: Mapping[str | None, Linker], image: ImageFiles
) -> list[Loaded]:
    """Return everything loaded, and the linker, which defines a few symbols itself."""
    linker = linkers[loading.order[0].elf.interpreter]
    itself = image.elf(linker.real)
    extra = [Loaded(linker.soname, linker.path, linker.real, itself)] if itself else []
    return [*loading.order, *extra]


def reached(roots: Iterable[str], image: ImageFiles) -> frozenset[str]:
    """Return the real paths of `roots` and of all that they load.

    Raise ToolError when a root is not an object of the image or the image has no linker.
    """
    linker = find_linker(image, machine=image.machine)
    found: set[str] = set()
    for root in roots:
        if root not in image.files or image.elf(root) is None:
            raise ToolError(f"{root}: not an ELF object of the image")
        found |= {loaded.real for loaded in load(root, files=image, linker=linker).order}
    return frozenset(found)
