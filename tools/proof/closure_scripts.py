"""Which scripts of an image cannot run, and which of its symbolic links lead nowhere."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from tools.cli import ToolError
from tools.image.image_files import ImageFiles
from tools.proof.findings import Finding


def scripts_of(image: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield each executable script with what follows its `#!`."""
    for path, file in image.files.items():
        if file.script is not None and image.mode(path) & 0o111:
            yield path, file.script


def script_findings(scripts: Mapping[str, str], image: ImageFiles) -> Iterator[Finding]:
    """Yield a finding for each script whose interpreter cannot run."""
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
        return "env gets no program"
    places = [posixpath.join(directory, names[0]) for directory in image.search_path]
    if any(_cannot_run(place, image) is None for place in places):
        return None
    return f"{names[0]} is in no directory of PATH ({':'.join(image.search_path)})"


def _cannot_run(path: str, image: ImageFiles) -> str | None:
    if not path.startswith("/"):
        return f"{path} is not an absolute path"
    real = image.realpath(path)
    if real is None:
        return f"{path} is not there"
    return None if image.mode(real) & 0o001 else f"{path} cannot be executed"


def link_findings(links: Sequence[str], image: ImageFiles) -> Iterator[Finding]:
    """Yield a finding for each symbolic link that leads nowhere."""
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
    except ToolError as error:
        return f"is a link to {target}: {error}"
    if image.tree.lookup(real) is None:
        return f"is a link to {target}, and {real} is not there"
    return None
