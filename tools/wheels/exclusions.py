"""Read the list of files in wheels that an image does not need, each with its reason.

    [{"glob": "**/*.pyi", "reason": "type stubs are read by type checkers, never at run time"}]

A glob matches a whole path as RECORD spells it, relative to dist-packages, so that a console
script is `../../../bin/NAME`: `*` stays within one name, `**` spans any number of names, a leading
`!` keeps what an earlier glob left out. Bytecode is judged like any file, by its path. A `marker`,
as of a requirement, says for which Pythons the wheels have such files; the others lack them.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from tools.archive.globs import Exclusions
from tools.cli import ToolError
from tools.wheels.wheel_tree import PACKAGES, WheelTree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def read_exclusions(path: Path) -> tuple[str, ...]:
    """Return the globs of the list at `path`, in order. Raise ToolError for one without reason."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        globs = tuple(str(entry["glob"]) for entry in entries if entry["reason"].strip())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = '[{"glob": "...", "reason": "..."}, ...]'
        raise ToolError(f"{path}: wanted {wanted}: {type(error).__name__}: {error}") from error
    if len(globs) != len(entries):
        raise ToolError(f"{path}: every glob needs a reason")
    return globs


def _in_record(path: str) -> str:
    return posixpath.relpath(path, PACKAGES)


def kept(paths: Iterable[str], *, globs: tuple[str, ...]) -> list[str]:
    """Return those paths, from the image's root, that no glob leaves out."""
    excluded = Exclusions(globs=globs)
    return [path for path in paths if not excluded.match(_in_record(path))]


def without_excluded(tree: WheelTree, *, globs: tuple[str, ...]) -> WheelTree:
    """Return the tree without what `globs` leave out."""
    paths = set(kept((file.path for file in tree.files), globs=globs))
    return replace(tree, files=tuple(file for file in tree.files if file.path in paths))


def unused_globs(trees: Iterable[WheelTree], *, globs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the globs that match no file of `trees`: they stand for something that is gone."""
    paths = [_in_record(file.path) for tree in trees for file in tree.files]
    return tuple(
        glob
        for glob in globs
        if not any(Exclusions(globs=(glob.removeprefix("!"),)).match(path) for path in paths)
    )
