r"""Proves that an image is closed: every object, script and link finds in it what it needs.

    python3 -m tools.proof.closure --image bazel-bin/backend/image [--accepted closure.yaml]

Takes any OCI layout of a glibc system, of any architecture, and runs nothing of it. Each ELF object
is loaded as ld.so would (tools/elf/linker.py), on the oldest processor and, where the image has
libraries for newer ones, on those as well. What an object lacks when it is started alone is
accepted if others load it and it then lacks nothing: some libraries are only parts of another.
Prints each finding with the places searched and who loads the object; returns 1 if there is one.
"""

from __future__ import annotations

import argparse
import posixpath
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.cli import tool
from tools.elf import ld_so_cache
from tools.elf.elf import Elf
from tools.elf.linker import (
    PLATFORMS,
    Linker,
    LinkerError,
    Loaded,
    Loading,
    Unmet,
    find_linker,
    load,
    undefined_symbols,
    unmet_versions,
)
from tools.image.image_files import ImageFiles, ProofError, read_image
from tools.image.tree import TreeError
from tools.proof.allowlist import Accepted, read_accepted

# What can be found, and what to call it in the list of what is accepted.
KINDS = (
    "cache",
    "libraries",
    "linkers",
    "links",
    "machines",
    "modes",
    "scripts",
    "search_paths",
    "symbols",
    "versions",
)
_SHOWN = 6


@dataclass(frozen=True)
class Finding:
    """Something at `path` that does not hold, with where was searched and who loads the object."""

    kind: str
    path: str
    text: str
    searched: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ()


@dataclass
class Verdict:
    """What was found, and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    accepted: list[tuple[Finding, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def judge(image: ImageFiles, accepted: Accepted | None = None) -> Verdict:
    """Return every finding, sorted, split by what `accepted` says.

    Raise ProofError for an image without objects, LinkerError for one without a known linker and
    CacheError for a damaged ld.so.cache.
    """
    objects = {path: file.elf for path, file in image.files.items() if file.elf is not None}
    native = {path: elf for path, elf in objects.items() if _is_native(elf, image.machine)}
    if not native:
        raise ProofError(f"no ELF object of {image.machine} in the image: nothing to prove")
    scripts = dict(_scripts(image))
    links = [path for path, entry in image.entries() if entry.kind == "symlink"]
    found = [
        *_machines(objects, image),
        *_objects(native, image),
        *_script_findings(scripts, image),
        *_links(links, image),
    ]
    verdict = Verdict(counts={"objects": len(native), "scripts": len(scripts), "links": len(links)})
    for finding in _merged(found):
        reason = accepted.reason(finding.kind, finding.path) if accepted else None
        if reason is None:
            verdict.findings.append(finding)
        else:
            verdict.accepted.append((finding, reason))
    return verdict


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """Sort; what is found on several processors is told once, with the most of its loaders."""
    best: dict[tuple[str, str, str, tuple[str, ...]], Finding] = {}
    for finding in found:
        key = (finding.path, finding.kind, finding.text, finding.searched)
        if key not in best or len(finding.loaders) > len(best[key].loaders):
            best[key] = finding
    return [finding for _, finding in sorted(best.items())]


def _is_native(elf: Elf, machine: str) -> bool:
    return (elf.machine, elf.bits, elf.endianness) == (machine, 64, "little")


def _machines(objects: Mapping[str, Elf], image: ImageFiles) -> Iterator[Finding]:
    for path, elf in objects.items():
        if not _is_native(elf, image.machine):
            yield Finding(
                "machines",
                path,
                f"is a {elf.bits}-bit {elf.endianness}-endian object for {elf.machine}, "
                f"the image is 64-bit little-endian {image.machine}",
            )


# Objects.


def _objects(native: Mapping[str, Elf], image: ImageFiles) -> Iterator[Finding]:
    for path, elf in native.items():
        if not image.mode(path) & 0o004:
            yield Finding("modes", path, "cannot be read by the image's user, who has to load it")
        if elf.is_filter:
            yield Finding(
                "libraries", path, "stands for others by DT_FILTER, which is not replayed"
            )
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
            except LinkerError as error:
                yield Finding("linkers", path, f"cannot be started: {error}")
    yield from _linker_modes(linkers, image)
    for processor in _processors(native, image):
        yield from _on_processor(dynamic, image, linkers, processor)


def search_path_texts(elf: Elf) -> tuple[str, ...]:
    """The single directories of an object's RPATH or RUNPATH, as they stand there."""
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
            yield Finding("cache", ld_so_cache.PATH, f"lists {entry.path}, which is no object here")


@dataclass(frozen=True)
class _Processor:
    platform: str
    hwcaps: tuple[str, ...]


def _processors(native: Mapping[str, Elf], image: ImageFiles) -> list[_Processor]:
    """The oldest processor, and each other one that could make a difference in this image."""
    levels = sorted(
        {
            path.partition("/glibc-hwcaps/")[2].partition("/")[0]
            for path in native
            if "/glibc-hwcaps/" in path
        },
        reverse=True,
    )
    texts = [text for elf in native.values() for text in (*search_path_texts(elf), *elf.needed)]
    platforms = PLATFORMS[image.machine]
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
    """Symbols that an object imports and nothing that is loaded with it defines.

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
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            text = f"imports what nothing with it defines: {', '.join(left[:_SHOWN])}{more}"
            yield Finding("symbols", path, text, loaders=tuple(loaders))


def _scope(
    loading: Loading, linkers: Mapping[str | None, Linker], image: ImageFiles
) -> list[Loaded]:
    """Everything loaded, and the linker, which defines a few symbols itself."""
    linker = linkers[loading.order[0].elf.interpreter]
    itself = image.elf(linker.real)
    extra = [Loaded(linker.soname, linker.path, linker.real, itself)] if itself else []
    return [*loading.order, *extra]


# Scripts and links.


def _scripts(image: ImageFiles) -> Iterator[tuple[str, str]]:
    for path, file in image.files.items():
        if file.script is not None and image.mode(path) & 0o111:
            yield path, file.script


def _script_findings(scripts: Mapping[str, str], image: ImageFiles) -> Iterator[Finding]:
    for path, line in scripts.items():
        words = line.split()
        if not words:
            yield Finding("scripts", path, "begins with '#!' and names no interpreter")
            continue
        cause = _cannot_run(words[0], image)
        if cause is None and posixpath.basename(words[0]) == "env":
            cause = _env(words[1:], image)
        if cause is not None:
            yield Finding("scripts", path, f"is a script for {line!r}: {cause}")


def _env(arguments: Sequence[str], image: ImageFiles) -> str | None:
    names = [each for each in arguments if not each.startswith("-") and "=" not in each]
    if not names:
        return "env is told no program"
    places = [posixpath.join(directory, names[0]) for directory in image.search_path]
    if any(_cannot_run(place, image) is None for place in places):
        return None
    return f"{names[0]} is in no directory of PATH ({':'.join(image.search_path)})"


def _cannot_run(path: str, image: ImageFiles) -> str | None:
    if not path.startswith("/"):
        return f"{path} is no absolute path"
    real = image.realpath(path)
    if real is None:
        return f"{path} is not there"
    return None if image.mode(real) & 0o001 else f"{path} cannot be executed"


def _links(links: Sequence[str], image: ImageFiles) -> Iterator[Finding]:
    for path in links:
        cause = dangling(path, image)
        if cause is not None:
            yield Finding("links", path, cause)


def dangling(path: str, image: ImageFiles) -> str | None:
    """Return why the symbolic link at `path` leads nowhere, or None if it leads somewhere."""
    entry = image.tree.lookup(path)
    target = entry.linkname if entry is not None else ""
    if target.startswith(("/proc/", "/dev/", "/sys/")):
        return None  # There once the container runs.
    try:
        real = image.tree.realpath(path)
    except TreeError as error:
        return f"is a link to {target}: {error}"
    if image.tree.lookup(real) is None:
        return f"is a link to {target}, and {real} is not there"
    return None


# The program.


def report(verdict: Verdict, *, name: str) -> str:
    """Return what people read: findings, what was accepted, and how much was looked at."""
    lines: list[str] = []
    for finding in verdict.findings:
        lines.append(f"{finding.path} {finding.text}")
        lines += [f"    searched {place}" for place in finding.searched]
        lines += [f"    loaded by {loader}" for loader in finding.loaders[:_SHOWN]]
        if len(finding.loaders) > _SHOWN:
            lines.append(f"    loaded by {len(finding.loaders) - _SHOWN} others")
    for finding, reason in verdict.accepted:
        lines.append(f"accepted: {finding.path} {finding.text}: {reason}")
    counts = ", ".join(f"{count} {what}" for what, count in verdict.counts.items())
    lines.append(f"{name}: {counts}; {len(verdict.findings)} findings")
    return "\n".join(lines)


@tool("closure")
def main(argv: list[str] | None = None) -> int:
    """Judge the image of the command line: 0 if it is closed, 1 if not or if it is unreadable."""
    parser = argparse.ArgumentParser(
        description="Prove that every object, script and link of an image finds what it needs."
    )
    parser.add_argument("--image", type=Path, required=True, help="OCI layout directory")
    parser.add_argument(
        "--accepted", type=Path, action="append", default=[], help="YAML list, with reasons"
    )
    options = parser.parse_args(argv)
    accepted = read_accepted(options.accepted, kinds=KINDS)
    image = read_image(options.image)
    verdict = judge(image, accepted)
    idle = accepted.idle()
    print(report(verdict, name=f"{options.image.name} ({image.architecture})"))
    for line in idle:
        print(line)
    return 1 if verdict.findings or idle else 0


if __name__ == "__main__":
    sys.exit(main())
