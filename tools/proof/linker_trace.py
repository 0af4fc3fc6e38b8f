"""Ask an image's own dynamic linker what it loads for each object, and compare the replay.

The linker is started in a container with LD_TRACE_LOADED_OBJECTS, so that it lists and runs
nothing. It proves the closure test's rules right, for exactly the objects of the image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tools.cli import ToolError
from tools.container.run import Container
from tools.elf.linker import Linker, Loading, find_linker, load
from tools.image.image_files import ImageFiles

_LINE = re.compile(r"\t(?:(\S+) => not found|(\S+)(?: => (\S+))? \(0x[0-9a-f]+\))")
_SUPPORTED = re.compile(r"^  (\S+) \(supported, searched\)", re.MULTILINE)
_SECONDS = 60.0
_KERNEL = "linux-vdso.so.1"  # What the kernel maps into every process; no file.


@dataclass(frozen=True)
class Difference:
    """An object for which the two disagree; each side as "name => path"."""

    path: str
    only_linker: tuple[str, ...]
    only_replay: tuple[str, ...]


def compare(image: ImageFiles, container: Container) -> tuple[int, list[Difference]]:
    """Return how many objects were compared, and the differences.

    Raise ToolError when the linker's output cannot be read.
    """
    count, differences = 0, []
    linkers: dict[str | None, Linker] = {}
    for path, file in image.files.items():
        elf = file.elf
        if elf is None or not elf.dynamic or elf.machine != image.machine:
            continue
        if elf.interpreter not in linkers:
            found = find_linker(image, machine=image.machine, interpreter=elf.interpreter)
            linkers[elf.interpreter] = _on_this_processor(found, container)
        linker = linkers[elf.interpreter]
        if path == linker.real:
            continue  # It lists nothing for itself.
        real = set(listed(path, linker=linker, container=container))
        replay = set(as_listed(load(path, files=image, linker=linker)))
        count += 1
        if real != replay:
            differences.append(
                Difference(path, tuple(sorted(real - replay)), tuple(sorted(replay - real)))
            )
    return count, differences


def _on_this_processor(linker: Linker, container: Container) -> Linker:
    shown = _ask(container, [linker.path, "--help"], {})
    return linker.on(linker.platform, tuple(_SUPPORTED.findall(shown)))


def listed(path: str, *, linker: Linker, container: Container) -> list[str]:
    """Return what the image's linker loads for `path`: "name => path" or "name => not found"."""
    text = _ask(container, [linker.path, path], {"LD_TRACE_LOADED_OBJECTS": "1"})
    if text.strip() == "statically linked":
        return []
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ToolError(
                f"{path}: {linker.path} printed {line!r}, which is not a line of a trace"
            )
        name, target = match[1] or match[2], match[3] or match[2]
        # The linker is in memory from the start; which of its names it shows differs.
        if name not in (_KERNEL, linker.soname, linker.path):
            found.append(f"{name} => {target if match[2] else 'not found'}")
    return found


def as_listed(loading: Loading) -> list[str]:
    """Return what the replay loads, in the same form."""
    return [f"{each.name} => {each.path}" for each in loading.order[1:]] + [
        f"{unmet.need} => not found" for unmet in loading.unmet
    ]


def _ask(container: Container, argv: list[str], env: Mapping[str, str]) -> str:
    result = container.run(argv, env=env, timeout=_SECONDS)
    if result.exit_code != 0 or result.stderr:
        said = result.stderr.decode("utf-8", "replace").strip()
        raise ToolError(f"{' '.join(argv)}: exit code {result.exit_code}: {said}")
    return result.stdout.decode("utf-8", "replace")
