"""Wheels → the files they become in the image, by PyPA's `installer`; nothing is written to disk.

`installer` reads the wheel format (schemes, console scripts, RECORD) as PyPA's "Binary distribution
format" and "Entry points" say; this module says where each scheme goes on Debian (as its Python's
`posix_local` scheme does), gathers the files of several wheels, and writes RECORD for what the
image really holds.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import posixpath
import stat
import sys
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, cast

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.scripts import Script
from installer.sources import WheelFile
from installer.utils import Scheme, construct_record_file, fix_shebang

from tools.archive.bytecode import pyc_path
from tools.archive.layer import normalise
from tools.archive.zip_archive import DAMAGE, open_zip, reason
from tools.cli import ToolError
from tools.elf.strip import strip_object

if TYPE_CHECKING:
    import os
    import zipfile
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from installer.scripts import ScriptSection

_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
PACKAGES = f"usr/local/lib/{_PYTHON}/dist-packages"
INTERPRETER = "/usr/bin/python3"
_INSTALLER = b"pinned_image\n"
# The hashes that RECORD may have (PyPA, "Recording installed projects"); others say nothing.
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


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


class _Wheel(WheelFile):
    """A wheel whose RECORD may be incomplete, as pip accepts it: the lock pins the whole file."""

    def check_hashes(self) -> None:
        """Raise ValueError for a file that differs from its hash in RECORD, if it has one there."""
        record = io.StringIO(self.read_dist_info("RECORD"), newline="")
        hashes = {_plain(path): rest[0] for path, *rest in filter(None, csv.reader(record)) if rest}
        for name, member in self._members().items():
            algorithm, _, digest = hashes.get(name, "").rstrip("=").partition("=")
            if algorithm not in _HASHES or name == f"{self.dist_info_dir}/RECORD":
                continue
            if _encoded(_HASHES[algorithm](self._zipfile.read(member)).digest()) != digest:
                raise ValueError(f"{name} differs from its hash in RECORD")

    def get_contents(self) -> Iterator[tuple[tuple[str, str, str], BinaryIO, bool]]:
        """Yield files in pip's order, so that of two for one place the same one is kept."""
        members = self._members()
        for name in sorted(members, key=self._rank):
            mode = members[name].external_attr >> 16
            executable = bool(stat.S_ISREG(mode) and mode & 0o111)
            # installer knows one spelling of the directory, pip any.
            top, slash, rest = name.partition("/")
            path = f"{self.data_dir}/{rest}" if slash and top.endswith(".data") else name
            with self._zipfile.open(members[name]) as stream:
                yield (path, "", ""), cast("BinaryIO", stream), executable

    def _members(self) -> dict[str, zipfile.ZipInfo]:
        """Return the files of the archive by name; of several with one name, the last."""
        members = self._zipfile.infolist()
        return {_plain(member.filename): member for member in members if not member.is_dir()}

    @staticmethod
    def _rank(name: str) -> int:
        top, scheme = [*name.split("/"), ""][:2]
        if not top.endswith(".data"):
            return 0
        return 2 if scheme == "scripts" else 1


class _MemoryDestination(WheelDestination):
    """Collect what `installer` would write. Of two files for one place the later one is kept."""

    def __init__(self, wheel: str, *, distribution: str) -> None:
        self._wheel = wheel
        self._directories = _scheme_directories(distribution)
        self._files: dict[str, TreeFile] = {}
        self._console_scripts: dict[str, TreeFile] = {}
        self.record = ""

    @property
    def files(self) -> dict[str, TreeFile]:
        """The files by path. Console scripts replace others, since pip makes them last."""
        return self._files | self._console_scripts

    def write_script(
        self, name: str, module: str, attr: str, section: ScriptSection
    ) -> RecordEntry:
        script_name, data = Script(name, module, attr, section).generate(INTERPRETER, kind="posix")
        file = self._file("scripts", script_name, data, executable=True)
        self._console_scripts[file.path] = file
        return RecordEntry(script_name, None, None)

    def write_file(
        self,
        scheme: Scheme,
        path: str | os.PathLike[str],
        stream: BinaryIO,
        is_executable: bool,  # noqa: FBT001 - installer's signature
    ) -> RecordEntry:
        if scheme == "scripts":
            with fix_shebang(stream, INTERPRETER) as fixed:
                file = self._file(scheme, str(path), fixed.read(), executable=True)
        else:
            file = self._file(scheme, str(path), stream.read(), executable=is_executable)
        self._files[file.path] = file
        return RecordEntry(str(path), None, None)

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

    def _file(self, scheme: str, path: str, data: bytes, *, executable: bool) -> TreeFile:
        place = self._path(scheme, path)
        return TreeFile(path=place, data=data, executable=executable, wheel=self._wheel)


def read_wheel(path: Path) -> WheelTree:
    """Return the files of the wheel at `path`, checked by the hashes in RECORD. Raise ToolError."""
    try:
        with open_zip(path) as archive, warnings.catch_warnings():
            # installer leaves a wheel's own bytecode out and warns; ours is made below.
            warnings.simplefilter("ignore", RuntimeWarning)
            source = _Wheel(archive)
            source.check_hashes()
            destination = _MemoryDestination(path.name, distribution=source.distribution)
            install(source, destination, additional_metadata={"INSTALLER": _INSTALLER})
    except AssertionError as error:  # installer's only check of entry_points.txt
        raise ToolError(f"{path.name}: not a valid wheel: a malformed entry point") from error
    except (
        *(InstallerError, ValueError, KeyError, OSError, csv.Error, configparser.Error),
        *DAMAGE,
    ) as error:
        cause = error.args[-1] if isinstance(error, InstallerError) else reason(error)
        raise ToolError(f"{path.name}: not a valid wheel: {cause}") from error
    files = tuple(file for _, file in sorted(destination.files.items()))
    return WheelTree(wheel=path.name, record=destination.record, files=files)


def _plain(name: str) -> str:
    """Return a name of the archive or of RECORD without "./"."""
    return "/".join(part for part in name.split("/") if part != ".")


def _encoded(digest: bytes) -> str:
    """Return a digest as RECORD has it."""
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


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
        digest = _encoded(hashlib.sha256(file.data).digest())
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
            data=io.BytesIO(stream.read()).getvalue(),
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
