"""A shared library that a wheel bundles → what it is, from the text that its makers put into it."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from tools.sbom import licenses
from tools.sbom.component import Component
from tools.sbom.licenses import Licence


@dataclass(frozen=True)
class _Product:
    """How a library says what it is: `pattern` has its version as first group."""

    name: str
    library: re.Pattern[str]
    pattern: re.Pattern[bytes]
    cpe: str | None = None


def _product(name: str, library: str, pattern: bytes, cpe: str | None = None) -> _Product:
    return _Product(name, re.compile(library), re.compile(pattern), cpe)


_VERSION = rb"(\d+(?:\.\d+)+)"
_FFMPEG = r"lib(?:av(?:codec|device|filter|format|util)|postproc|sw(?:resample|scale))"
_PRODUCTS = (
    # libavutil has the text right behind a table, without a NUL between them.
    _product("ffmpeg", _FFMPEG, rb"FFmpeg version n?" + _VERSION, "ffmpeg:ffmpeg"),
    _product(
        "openssl", r"lib(crypto|ssl)", rb"\0OpenSSL (\d+\.\d+\.\d+[a-z]*) ", "openssl:openssl"
    ),
    _product("openblas", r"lib(scipy_)?openblas\w*", rb"OpenBLAS (\d+\.\d+\.\d+)"),
    _product("libaom", r"libaom", rb"AV1 Encoder v?" + _VERSION, "aomedia:aomedia"),
    # What avifVersion() returns: a string of its own.
    _product("libavif", r"libavif", rb"\0(\d+\.\d+\.\d+)\0", "aomedia:libavif"),
    _product("libpng", r"libpng\d*", rb"libpng version " + _VERSION, "libpng:libpng"),
    _product("libvpx", r"libvpx", rb"VP9 Encoder v" + _VERSION, "webmproject:libvpx"),
)
# FFmpeg names each of its libraries' files by that library's version (what swscale_version()
# returns), which is how libswscale is known: it alone has no text with FFmpeg's.
_FFMPEG_FILE = re.compile(rf".*/({_FFMPEG})-[^/]*\.so\.(\d+\.\d+\.\d+)")
_FFMPEG_LICENCE = re.compile(_FFMPEG.encode() + rb" license: (L?GPL) version (\d\.?\d?) or later")


@dataclass(frozen=True)
class Library:
    """A bundled library, and the beginning of its file's name."""

    component: Component
    stem: str

    def is_part_of(self, declared: Component) -> bool:
        """Return whether it is a file of what the wheel's own SBOM declares.

        That has the distribution's name for it, "openssl-libs 1.1.1k-15.el8_6" or "libdrm".
        """
        version = self.component.version
        if declared.name in (self.stem, self.component.name):
            return version is None or str(declared.version).startswith(f"{version}-")
        return version is not None and (
            declared.name.startswith(f"{self.component.name}-")
            and str(declared.version).startswith(f"{version}-")
        )


def identify(stem: str, content: bytes, *, file: str) -> tuple[str | None, str | None, str | None]:
    """Return product, version and CPE of a library, as far as it says them itself."""
    for product in _PRODUCTS:
        found = set(product.pattern.findall(content)) if product.library.fullmatch(stem) else set()
        # Two versions would be other products', mentioned in a message.
        if len(found) == 1:
            version = found.pop().decode("ascii")
            cpe = f"cpe:2.3:a:{product.cpe}:{version}:*:*:*:*:*:*:*" if product.cpe else None
            return product.name, version, cpe
    named = _FFMPEG_FILE.fullmatch(file)
    return (named[1], named[2], None) if named else (None, None, None)


class LicenceTable:
    """The licences of what a wheel bundles, in the words of its licence files.

    NumPy and others list them there: "Name:", "Files:" with wildcards, "License:" with SPDX's name.
    """

    def __init__(self, text: str) -> None:
        """Read the table from the text of a wheel's licence files."""
        self._entries: list[tuple[str, str]] = []
        files = None
        for line in text.splitlines():
            field, _, value = line.partition(": ")
            if field == "Files":
                files = value.strip()
            elif field == "License" and files:
                expression = licenses.checked(value.strip())
                self._entries += [(files, expression)] if expression else []
                files = None

    def licence(self, file: str, content: bytes) -> Licence | None:
        """Return a library's licence: its own statement, else the table's, else None."""
        said = _FFMPEG_LICENCE.search(content)
        if said:
            version = said[2].decode().rstrip(".")
            dotted = version if "." in version else f"{version}.0"
            return Licence(f"{said[1].decode()}-{dotted}-or-later")
        # "libgfortran*.so" stands for libgfortran-0123abcd.so.5.0.0, too.
        found = [
            Licence(name)
            for files, name in self._entries
            if fnmatch.fnmatchcase(file, files) or fnmatch.fnmatchcase(file, f"{files}.*")
        ]
        return licenses.all_of(found) if found else None
