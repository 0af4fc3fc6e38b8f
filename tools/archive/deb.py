"""Reads Debian binary packages: a .deb file in, its control files and its data tar out.

    python3 -m tools.archive.deb --deb libz.deb          # its control fields and file list

The format is deb(5): an ar archive of `debian-binary`, `control.tar[.gz|.xz|.zst]` and
`data.tar[.gz|.bz2|.xz|.zst]`, in that order. Nothing is skipped silently: an archive that dpkg
would refuse, or that tarfile would cut short without a word, is a `DebError` that names the file.

Standard library only and Python 3.9, because it also runs before the pinned interpreter is there.
A zstd member needs the third-party `zstandard` module; Debian itself uses xz.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import io
import lzma
import os
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Union, cast

from tools.cli import ToolError

AR_MAGIC = b"!<arch>\n"
AR_HEADER_SIZE = 60
AR_HEADER_END = b"`\n"

# Debian 12's largest member unpacks to well under 1 GiB; past this it is a bomb, not a package.
MAX_UNPACKED = 4 << 30

_DECODERS = {".xz": lzma.LZMADecompressor, ".bz2": bz2.BZ2Decompressor}

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
    """Lists the members of the outer archive, checked against the size of the file.

    Raises DebError when the file is not an ar archive or is cut short.
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
                raise DebError(f"{path}: two members are called {name!r}")
            found.append(ArMember(name=name, offset=offset, size=size))
            offset += size + size % 2
    return tuple(found)


def control_files(path: StrPath) -> dict[str, bytes]:
    """Returns the files of control.tar by name: `control`, `md5sums`, `conffiles`, `postinst`...

    Raises DebError when the package or its control archive is malformed.
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
                raise DebError(f"{path}: control.tar: {name!r} is there twice")
            # Of a regular member, extractfile always returns a stream.
            files[name] = cast("IO[bytes]", tar.extractfile(member)).read()
    if "control" not in files:
        raise DebError(f"{path}: control.tar has no file 'control'")
    return files


def control_fields(path: StrPath) -> dict[str, str]:
    """Returns the fields of the `control` file, with multi-line values as deb822(5) spells them.

    Raises DebError when the file is malformed or lacks Package, Version or Architecture.
    """
    return parse_control(control_files(path)["control"], of=path)


def parse_control(content: bytes, *, of: StrPath) -> dict[str, str]:
    """Parses one deb822(5) stanza; `of` is the file to name in a DebError."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DebError(f"{of}: control is not UTF-8: {error}") from error
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        if not line.strip():
            continue
        if line[0] in " \t":
            if not last:
                raise DebError(f"{of}: control starts with a continuation line: {line!r}")
            fields[last] += "\n" + line
            continue
        last, colon, value = line.partition(":")
        if not colon or not last or " " in last:
            raise DebError(f"{of}: control: {line!r} is not a 'Name: value' line")
        if any(last.lower() == known.lower() for known in fields):
            raise DebError(f"{of}: control: field {last!r} is there twice")
        fields[last] = value.strip()
    for required in ("Package", "Version", "Architecture"):
        if not fields.get(required):
            raise DebError(f"{of}: control has no field {required!r}")
    return fields


def data_tar(path: StrPath) -> contextlib.AbstractContextManager[tarfile.TarFile]:
    """Opens the data archive, unpacked in memory and seekable, as a context manager.

    Names come as the archive has them ("./usr/bin/x"): pass them through `relative_path`. A damaged
    archive raises DebError here or while the block iterates.
    """
    return _inner_tar(path, "data.tar")


def relative_path(name: str, *, of: StrPath) -> str:
    """Normalises a member name: "./usr//bin/" is "usr/bin", and "./" is "".

    Raises DebError for an absolute name, one that climbs with "..", or one with a NUL or newline.
    """
    if name.startswith("/"):
        raise DebError(f"{of}: member {name!r} has an absolute path")
    if "\0" in name or "\n" in name:
        raise DebError(f"{of}: member {name!r} has a control character in its name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DebError(f"{of}: member {name!r} climbs out with '..'")
    return "/".join(parts)


class _StrictTarFile(tarfile.TarFile):
    """A TarFile that refuses what tarfile takes for the end: a damaged header amid the archive."""

    def next(self) -> tarfile.TarInfo | None:
        member = super().next()
        if member is not None:
            if member.size < 0:  # CVE-2025-8194: it would send the reader backwards for ever
                raise tarfile.ReadError(f"member {member.name!r} has a negative size")
            return member
        fileobj = cast("BinaryIO", self.fileobj)
        fileobj.seek(self.offset)
        rest = fileobj.read()
        if len(rest) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("ends without its closing zero block: truncated")
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"damaged header at byte {self.offset}")
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
    """Returns the unpacked bytes of control.tar.* or data.tar.*."""
    members = ar_members(path)
    # deb(5): members whose names start with "_" may stand before control.tar and mean nothing.
    order = [member for member in members if not member.name.startswith("_")]
    wanted = ("debian-binary", "control.tar", "data.tar")
    found = tuple(member.name[: len(stem)] for member, stem in zip(order, wanted))
    if found != wanted or order[0].name != wanted[0]:
        names = ", ".join(member.name for member in members) or "none"
        raise DebError(f"{path}: members are {names}; wanted {', '.join(wanted)} in this order")
    with Path(path).open("rb") as stream:
        stream.seek(order[0].offset)
        version = stream.read(order[0].size)
        if not version.startswith(b"2.") or not version.endswith(b"\n"):
            raise DebError(f"{path}: format version {version!r}; only 2.x is known")
        member = order[1] if stem == "control.tar" else order[2]
        stream.seek(member.offset)
        packed = stream.read(member.size)
    return _unpack(packed, member.name[len(stem) :], of=path)


def _unpack(packed: bytes, suffix: str, *, of: StrPath) -> bytes:
    """Decompresses a whole member at once: one call, so threads run it truly in parallel."""
    if suffix == "":
        return packed
    if suffix == ".zst":
        return _unpack_zst(packed, of=of)
    if suffix not in (".gz", *_DECODERS):
        raise DebError(f"{of}: compression {suffix!r} is not known")
    chunks: list[bytes] = []
    total = 0
    try:
        while packed:
            chunk, packed, complete = _unpack_stream(packed, suffix, limit=MAX_UNPACKED - total)
            total += len(chunk)
            if total >= MAX_UNPACKED:
                raise DebError(f"{of}: unpacks to more than {MAX_UNPACKED} bytes")
            if not complete:
                raise DebError(f"{of}: *.tar{suffix} is truncated")
            chunks.append(chunk)
    except (lzma.LZMAError, zlib.error, OSError) as error:
        raise DebError(f"{of}: *.tar{suffix} is damaged: {error}") from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _unpack_stream(packed: bytes, suffix: str, *, limit: int) -> tuple[bytes, bytes, bool]:
    """Unpacks one compressed stream: its content, the bytes after it, and whether it ended."""
    if suffix == ".gz":
        inflate = zlib.decompressobj(wbits=31)  # 16 + 15: gzip framing, full window
        content = inflate.decompress(packed, limit)
        return content, inflate.unused_data, inflate.eof
    decoder = _DECODERS[suffix]()
    content = decoder.decompress(packed, max_length=limit)
    return content, decoder.unused_data, decoder.eof


def _unpack_zst(packed: bytes, *, of: StrPath) -> bytes:
    try:
        import zstandard
    except ImportError:
        cause = "this Python has no 'zstandard' module; install it or use an xz build"
        raise DebError(f"{of}: compressed with zstd, and {cause}") from None
    try:
        reader: BinaryIO = zstandard.ZstdDecompressor().stream_reader(packed)
        content = reader.read(MAX_UNPACKED)
    except zstandard.ZstdError as error:
        raise DebError(f"{of}: *.tar.zst is damaged: {error}") from error
    if len(content) >= MAX_UNPACKED:
        raise DebError(f"{of}: unpacks to more than {MAX_UNPACKED} bytes")
    return content


def main(argv: list[str] | None = None) -> int:
    """Prints the control fields and the file list of a package."""
    parser = argparse.ArgumentParser(description="Show what is in a .deb: fields and files.")
    parser.add_argument("--deb", required=True, help="the package to read")
    options = parser.parse_args(argv)
    try:
        for name, value in control_fields(options.deb).items():
            print(f"{name}: {value}")
        with data_tar(options.deb) as tar:
            for member in tar:
                print(f"{member.mode:04o} {member.size:>12} {member.name}")
    except (DebError, OSError) as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
