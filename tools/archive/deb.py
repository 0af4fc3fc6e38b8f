"""Read Debian binary packages: a .deb file in, its control files and its data tar out.

    python3 -m tools.archive.deb --deb libz.deb          # its control fields and file list

The format is deb(5): an ar archive of `debian-binary`, `control.tar[.gz|.xz|.zst]` and
`data.tar[.gz|.bz2|.xz|.zst]`, in that order. Nothing is skipped silently: an archive that dpkg
refuses, or whose end tarfile drops without an error, is a `DebError` that names the file.

Standard library only and Python 3.9, because it also runs before the pinned interpreter is there.
A zstd member needs the third-party `zstandard` module; Debian itself uses xz.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Union, cast

from tools.archive.deb822 import ControlError, paragraphs
from tools.archive.decompress import DecompressionError, Decompressor
from tools.cli import ToolError, tool

AR_MAGIC = b"!<arch>\n"
AR_HEADER_SIZE = 60
AR_HEADER_END = b"`\n"

# Debian 12's largest member unpacks to well under 1 GiB; past this it is a bomb, not a package.
MAX_UNPACKED = 4 << 30

_METHODS = {"": "none", ".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}

StrPath = Union[str, "os.PathLike[str]"]


class DebError(ToolError):
    """A .deb that is malformed or unsafe; the message names the file and the cause."""


@dataclass(frozen=True)
class ArMember:
    """One member of the outer ar archive; `offset` and `size` in bytes locate its content."""

    name: str
    offset: int
    size: int


def ar_members(path: StrPath) -> tuple[ArMember, ...]:
    """Return the members of the outer archive, checked against the size of the file.

    Raise DebError when the file is not an ar archive or is cut short.
    """
    found: list[ArMember] = []
    with Path(path).open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        magic = stream.read(len(AR_MAGIC))
        if magic != AR_MAGIC:
            raise DebError(f"{path}: not a Debian package: starts with {magic!r}, not {AR_MAGIC!r}")
        offset = len(AR_MAGIC)
        while offset < end:
            stream.seek(offset)
            header = stream.read(AR_HEADER_SIZE)
            if len(header) != AR_HEADER_SIZE or header[58:60] != AR_HEADER_END:
                raise DebError(f"{path}: bad or truncated ar header at byte {offset}")
            # GNU ar ends a name with "/"; dpkg does not.
            name = header[:16].decode("ascii", "replace").rstrip(" ").rstrip("/")
            digits = header[48:58].rstrip(b" ")
            if not digits.isdigit():
                raise DebError(f"{path}: member {name!r}: size {digits!r} is not a number")
            size = int(digits)
            offset += AR_HEADER_SIZE
            if offset + size > end:
                missing = offset + size - end
                raise DebError(f"{path}: member {name!r} is truncated: {missing} bytes missing")
            if any(member.name == name for member in found):
                raise DebError(f"{path}: two members are named {name!r}")
            found.append(ArMember(name=name, offset=offset, size=size))
            offset += size + size % 2
    return tuple(found)


def control_files(path: StrPath) -> dict[str, bytes]:
    """Return the files of control.tar by name: `control`, `md5sums`, `conffiles`, `postinst`...

    Raise DebError when the package or its control archive is malformed.
    """
    files: dict[str, bytes] = {}
    with _inner_tar(path, "control.tar") as tar:
        for member in tar:
            name = relative_path(member.name, of=path)
            if member.isdir():
                continue
            if not member.isreg() or "/" in name:
                raise DebError(f"{path}: control.tar: {member.name!r} is not a plain file")
            if name in files:
                raise DebError(f"{path}: control.tar: {name!r} appears twice")
            # Of a regular member, extractfile always returns a stream.
            files[name] = cast("IO[bytes]", tar.extractfile(member)).read()
    if "control" not in files:
        raise DebError(f"{path}: control.tar has no file 'control'")
    return files


def control_fields(path: StrPath) -> Mapping[str, str]:
    """Return the fields of the `control` file by their names in lower case.

    Raise DebError when the file is malformed or lacks Package, Version or Architecture.
    """
    return parse_control(control_files(path)["control"], of=path)


def parse_control(content: bytes, *, of: StrPath) -> Mapping[str, str]:
    """Return the fields of a control file's one paragraph; `of` names the file in a DebError."""
    try:
        found = list(paragraphs(content.decode("utf-8")))
    except (UnicodeDecodeError, ControlError) as error:
        cause = f"is not UTF-8: {error}" if isinstance(error, UnicodeDecodeError) else error
        raise DebError(f"{of}: control: {cause}") from error
    if len(found) > 1:
        raise DebError(f"{of}: control has {len(found)} paragraphs, expected one")
    fields = found[0] if found else {}
    for required in ("Package", "Version", "Architecture"):
        if not fields.get(required.lower()):
            raise DebError(f"{of}: control has no field {required!r}")
    return fields


def data_tar(path: StrPath) -> contextlib.AbstractContextManager[tarfile.TarFile]:
    """Open the data archive, unpacked in memory and seekable, as a context manager.

    Names come as the archive has them ("./usr/bin/x"): pass them through `relative_path`. A damaged
    archive raises DebError here or while the block iterates.
    """
    return _inner_tar(path, "data.tar")


def read_file(path: StrPath, name: str) -> bytes | None:
    """Return the content of the regular file `name`, "usr/bin/x"; None when there is none."""
    with data_tar(path) as tar:
        for member in tar:
            if member.isreg() and relative_path(member.name, of=path) == name:
                # Of a regular member, extractfile always returns a stream.
                return cast("IO[bytes]", tar.extractfile(member)).read()
    return None


def relative_path(name: str, *, of: StrPath) -> str:
    """Normalise a member name: "./usr//bin/" is "usr/bin", and "./" is "".

    Raise DebError for an absolute name, one that climbs with "..", or one with a NUL or newline.
    """
    if name.startswith("/"):
        raise DebError(f"{of}: member {name!r} has an absolute path")
    if "\0" in name or "\n" in name:
        raise DebError(f"{of}: member {name!r} has a control character in its name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DebError(f"{of}: member {name!r} climbs out with '..'")
    return "/".join(parts)


def link_target(name: str, target: str, *, of: StrPath) -> str:
    """Return the text of a symbolic link; raise DebError for one that no link can have."""
    if not target or "\0" in target or "\n" in target:
        raise DebError(f"{of}: symlink {name!r} has an unusable target {target!r}")
    return target


class _StrictTarFile(tarfile.TarFile):
    """A TarFile that refuses what dpkg refuses and tarfile takes for the end or for good.

    The end is a damaged header amid the archive. Pax headers and sparse files have no place in a
    package; a sparse file of a few bytes can say that it is larger than every disk.
    """

    def next(self) -> tarfile.TarInfo | None:
        start = self.offset
        try:
            member = super().next()
        except (ValueError, RecursionError) as error:
            # tarfile calls itself for each of several headers that extend the same member.
            raise tarfile.ReadError(f"malformed header at byte {start}: {error}") from error
        if member is not None:
            if member.size < 0:  # CVE-2025-8194: an endless loop
                raise tarfile.ReadError(f"member {member.name!r} has a negative size")
            if member.pax_headers or member.issparse():
                raise tarfile.ReadError(f"member {member.name!r} is sparse or has a pax header")
            return member
        fileobj = cast("BinaryIO", self.fileobj)
        fileobj.seek(start)  # tarfile's offset may be beyond what it could not read
        rest = fileobj.read()
        if len(rest) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("ends without its closing zero block: truncated")
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"damaged header at byte {start}")
        return None


@contextlib.contextmanager
def _inner_tar(path: StrPath, stem: str) -> Iterator[tarfile.TarFile]:
    content = _inner_content(path, stem)
    try:
        # The default encoding of names is the locale's: it would change bytes between machines.
        with _StrictTarFile.open(
            fileobj=io.BytesIO(content), mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise DebError(f"{path}: {stem}: {error}") from error


def _inner_content(path: StrPath, stem: str) -> bytes:
    """Return the unpacked bytes of control.tar.* or data.tar.*."""
    members = ar_members(path)
    # deb(5): members whose names start with "_" may stand before control.tar and mean nothing.
    order = [member for member in members if not member.name.startswith("_")]
    wanted = ("debian-binary", "control.tar", "data.tar")
    found = tuple(member.name[: len(stem)] for member, stem in zip(order, wanted))
    if found != wanted or order[0].name != wanted[0]:
        names = ", ".join(member.name for member in members) or "none"
        raise DebError(f"{path}: members are {names}; expected {', '.join(wanted)} in this order")
    with Path(path).open("rb") as stream:
        stream.seek(order[0].offset)
        version = stream.read(order[0].size)
        if not version.startswith(b"2.") or not version.endswith(b"\n"):
            raise DebError(f"{path}: format version {version!r}; only 2.x is supported")
        member = order[1] if stem == "control.tar" else order[2]
        stream.seek(member.offset)
        packed = stream.read(member.size)
    return _unpack(packed, member.name[len(stem) :], of=path)


def _unpack(packed: bytes, suffix: str, *, of: StrPath) -> bytes:
    """Decompress a whole member at once: one call, so threads run it truly in parallel."""
    if suffix not in _METHODS:
        raise DebError(f"{of}: compression {suffix!r} is not supported")
    try:
        content = Decompressor([packed], _METHODS[suffix]).read(MAX_UNPACKED)
    except DecompressionError as error:
        raise DebError(f"{of}: *.tar{suffix}: {error}") from error
    if len(content) >= MAX_UNPACKED:
        raise DebError(f"{of}: unpacks to more than {MAX_UNPACKED} bytes")
    return content


@tool("deb")
def main(argv: list[str] | None = None) -> None:
    """Print the control fields and the file list of a package."""
    parser = argparse.ArgumentParser(description="Show what is in a .deb: fields and files.")
    parser.add_argument("--deb", required=True, help="the package to read")
    options = parser.parse_args(argv)
    print(control_files(options.deb)["control"].decode("utf-8", "replace"), end="")
    with data_tar(options.deb) as tar:
        for member in tar:
            print(f"{member.mode:04o} {member.size:>12} {member.name}")


if __name__ == "__main__":
    sys.exit(main())
