"""Open zip archives that others have made, such as wheels, with the limits of every other archive.

What reading one can raise besides ValueError and OSError is DAMAGE: zipfile lets the errors of its
decompressors through.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path

from tools.archive.deb import MAX_UNPACKED

DAMAGE = (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, lzma.LZMAError)
_ENCRYPTED = 0x1


def reason(error: Exception) -> str:
    """Return what is wrong with an archive; zipfile has no words for a member that is cut short."""
    return str(error) or "a member ends early"


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open the archive; raise ValueError if it is encrypted or unpacks to more than MAX_UNPACKED.

    zipfile never reads more of a member than its declared size, which is what is counted here. It
    asks for as many stored bytes as are declared, so that more than the file has are refused, too.
    """
    archive = zipfile.ZipFile(path)
    problem = _problem(archive.infolist(), path.stat().st_size)
    if problem is not None:
        archive.close()
        raise ValueError(problem)
    return archive


def _problem(members: list[zipfile.ZipInfo], length: int) -> str | None:
    for member in members:
        if member.header_offset + member.compress_size > length:
            return f"{member.filename!r} is said to be longer than the archive"
        if member.flag_bits & _ENCRYPTED:
            return f"{member.filename!r} is encrypted"
    size = sum(member.file_size for member in members)
    return f"unpacks to {size} bytes, more than {MAX_UNPACKED}" if size > MAX_UNPACKED else None
