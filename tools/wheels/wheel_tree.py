"""Wheels → the files they become in the image, by PyPA's `installer`; nothing is written to disk.

`installer` reads the wheel format (schemes, console scripts, RECORD) as PyPA's "Binary distribution
format" and "Entry points" say; this module says where each scheme goes on Debian (as its Python's
`posix_local` scheme does), gathers the files of several wheels, and writes RECORD for what the
image really holds.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import sys
import warnings
import zipfile
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.scripts import Script
from installer.sources import WheelFile
from installer.utils import Scheme, construct_record_file, fix_shebang

from tools.archive.bytecode import pyc_path
from tools.archive.layer import normalise
from tools.cli import ToolError
from tools.elf.strip import strip_object

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from installer.scripts import ScriptSection

_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
PACKAGES = f"usr/local/lib/{_PYTHON}/dist-packages"
INTERPRETER = "/usr/bin/python3"
_INSTALLER = b"pinned_image\n"


@dataclass(frozen=True)
class TreeFile:
    """One file of the image: its path from the root, its content, and the wheel it comes from."""

    path: str
    data: bytes
    executable: bool
    wheel: str


@dataclass(frozen=True)
class WheelTree:
    """What one wheel becomes; `record` is the path of its RECORD, which `files` does not hold."""

    wheel: str
    record: str
    files: tuple[TreeFile, ...]


def _scheme_directories(distribution: str) -> dict[str, str]:
    return {
        "purelib": PACKAGES,
        "platlib": PACKAGES,
        "scripts": "usr/local/bin",
        "data": "usr/local",
        "headers": f"usr/local/include/{_PYTHON}/{distribution}",
    }


class _MemoryDestination(WheelDestination):
    """Collect what `installer` would write."""

    def __init__(self, wheel: str, *, distribution: str) -> None:
        self._wheel = wheel
        self._directories = _scheme_directories(distribution)
        self.files: dict[str, TreeFile] = {}
        self.record = ""

    def write_script(
        self, name: str, module: str, attr: str, section: ScriptSection
    ) -> RecordEntry:
        script_name, data = Script(name, module, attr, section).generate(INTERPRETER, kind="posix")
        return self._add("scripts", script_name, data, executable=True)

    def write_file(
        self,
        scheme: Scheme,
        path: str | os.PathLike[str],
        stream: BinaryIO,
        is_executable: bool,  # noqa: FBT001 - installer's signature
    ) -> RecordEntry:
        if scheme == "scripts":
            with fix_shebang(stream, INTERPRETER) as fixed:
                return self._add(scheme, str(path), fixed.read(), executable=True)
        return self._add(scheme, str(path), stream.read(), executable=is_executable)

    def finalize_installation(
        self,
        scheme: Scheme,
        record_file_path: str,
        records: Iterable[tuple[Scheme, RecordEntry]],  # noqa: ARG002 - RECORD is written after exclusion
    ) -> None:
        self.record = self._path(scheme, record_file_path)

    def _path(self, scheme: str, path: str) -> str:
        directory = self._directories[scheme]
        try:
            inside = normalise(path)
        except ToolError as error:
            raise ToolError(f"{self._wheel}: {error}") from error
        return f"{directory}/{inside}"

    def _add(self, scheme: str, path: str, data: bytes, *, executable: bool) -> RecordEntry:
        place = self._path(scheme, path)
        file = TreeFile(path=place, data=data, executable=executable, wheel=self._wheel)
        if self.files.setdefault(place, file) != file:
            raise ToolError(f"{self._wheel}: holds {place} twice, with different content")
        return RecordEntry(path, None, len(data))


def read_wheel(path: Path) -> WheelTree:
    """Return the files of the wheel at `path`, checked against its RECORD. Raise ToolError."""
    try:
        with WheelFile.open(path) as source, warnings.catch_warnings():
            # installer leaves a wheel's own bytecode out and warns; ours is made below.
            warnings.simplefilter("ignore", RuntimeWarning)
            source.validate_record()
            destination = _MemoryDestination(path.name, distribution=source.distribution)
            install(source, destination, additional_metadata={"INSTALLER": _INSTALLER})
    except (InstallerError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ToolError(f"{path.name}: not a valid wheel: {error}") from error
    files = tuple(file for _, file in sorted(destination.files.items()))
    return WheelTree(wheel=path.name, record=destination.record, files=files)


def stripped(tree: WheelTree) -> WheelTree:
    """Return the tree with its shared objects stripped (`strip.py`). Raise ToolError."""
    files = []
    for file in tree.files:
        try:
            files.append(replace(file, data=strip_object(file.data)))
        except ToolError as error:
            raise ToolError(f"{tree.wheel}: {file.path}: {error}") from error
    return replace(tree, files=tuple(files))


def modules(tree: WheelTree) -> dict[str, TreeFile]:
    """Return the modules of the tree, each by the path that its bytecode has."""
    return {
        pyc_path(file.path): file
        for file in tree.files
        if file.path.startswith(f"{PACKAGES}/") and file.path.endswith(".py")
    }


def with_bytecode(tree: WheelTree, bytecode: Mapping[str, bytes]) -> WheelTree:
    """Return the tree with bytecode, by path, as `wheel_bytecode` makes it."""
    added = (
        TreeFile(path=path, data=data, executable=False, wheel=tree.wheel)
        for path, data in bytecode.items()
    )
    return replace(tree, files=tuple(sorted((*tree.files, *added), key=lambda file: file.path)))


def record_file(tree: WheelTree) -> TreeFile:
    """Return RECORD for the files the tree has now, with paths relative to dist-packages."""
    rows: list[tuple[Scheme, RecordEntry]] = []
    for file in tree.files:
        digest = (
            base64.urlsafe_b64encode(hashlib.sha256(file.data).digest()).decode("ascii").rstrip("=")
        )
        relative = posixpath.relpath(file.path, PACKAGES)
        rows.append(
            (Scheme("purelib"), RecordEntry(relative, Hash("sha256", digest), len(file.data)))
        )
    rows.append(
        (Scheme("purelib"), RecordEntry(posixpath.relpath(tree.record, PACKAGES), None, None))
    )
    with construct_record_file(rows, lambda _: None) as stream:
        return TreeFile(
            path=tree.record,
            data=BytesIO(stream.read()).getvalue(),
            executable=False,
            wheel=tree.wheel,
        )


def merge(trees: Sequence[WheelTree]) -> tuple[TreeFile, ...]:
    """Return the files of all trees, RECORDs included, sorted by path.

    Raise ToolError when two wheels bring the same path with different content, naming both.
    """
    merged: dict[str, TreeFile] = {}
    for tree in trees:
        for file in (*tree.files, record_file(tree)):
            first = merged.setdefault(file.path, file)
            if (first.data, first.executable) != (file.data, file.executable):
                raise ToolError(
                    f"{first.wheel} and {file.wheel} both bring {file.path}, "
                    "with different content; keep one in requirements.in or exclude the path"
                )
    return tuple(file for _, file in sorted(merged.items()))
