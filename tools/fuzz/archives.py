"""Readers of archives: ar and .deb, tar, layers, compressed streams, zip and wheels."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard
from hypothesis import strategies as st

from tools.apt.deb_contents import read_package
from tools.archive import deb
from tools.archive.deb_extract import DebExtractor
from tools.archive.debs_for_test import TarMember, ar_bytes, directory, hardlink, packed, symlink
from tools.archive.debs_for_test import control as control_file
from tools.archive.debs_for_test import tar_bytes as gnu_tar
from tools.archive.decompress import CHUNK, Decompressor
from tools.archive.globs import Exclusions
from tools.archive.gzip_blocks import read_blocks
from tools.archive.layer import LayerWriter
from tools.archive.tar_stream import TarStream
from tools.archive.zip_archive import DAMAGE, open_zip
from tools.cli import ToolError
from tools.fuzz.harness import Reader
from tools.fuzz.mutation import damaged, damaged_parts, damaged_text
from tools.image import images_for_test as images
from tools.image.tree import Tree
from tools.image.unpack import Limits, unpack
from tools.sbom.wheels import describe_wheel
from tools.wheels.wheel_tree import read_wheel, stripped
from tools.wheels.wheels_for_test import TinyWheel, write_wheel

# What a content has cost so far: more than this from so little is a bomb that nobody stopped.
_UNPACKED = 16 << 20
_METHODS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "none": bytes,
}


def _resealed(archive: bytes) -> bytes:
    """Return a tar whose headers have right checksums again, so that a reader looks further."""
    data = bytearray(archive)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            counted = data[at : at + 148] + b" " * 8 + data[at + 156 : at + 512]
            data[at + 148 : at + 156] = b"%06o\0 " % sum(counted)
    return bytes(data)


def damaged_tar(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for damaged tar archives, most of them with right checksums."""
    parts = damaged_parts(*map(_members, valid))
    return damaged(*valid) | damaged(*valid).map(_resealed) | parts | parts.map(_resealed)


def _members(archive: bytes) -> list[bytes]:
    """Return a valid tar in parts: each header with its data, extension headers by themselves."""
    parts = []
    at = 0
    while archive[at : at + 1] not in (b"", b"\0"):
        size = int(archive[at + 124 : at + 135].rstrip(b"\0 ") or b"0", 8)
        end = at + 512 + -(-size // 512) * 512
        parts.append(archive[at:end])
        at = end
    return [*parts, archive[at:]]


# tar

_PAX = images.tar_bytes(
    [
        images.directory("etc"),
        images.Member("etc/passwd", b"root:x:0:0\n" * 60),
        images.Member("é" * 60 + "/" + "x" * 120, b"long"),
        images.link("etc/inside", "../usr"),
        images.Member("etc/inside/file", b"through a link"),
        images.hard_link("etc/same", "etc/passwd"),
        images.Member("etc/.wh.passwd"),
        images.Member("etc/.wh..wh..opq"),
        images.Member("dev/null", kind=tarfile.CHRTYPE),
        images.Member("pipe", kind=tarfile.FIFOTYPE),
    ]
)
_GNU = gnu_tar(
    [
        directory("./"),
        directory("./usr/"),
        TarMember("./usr/" + "y" * 150, b"#!/bin/sh\n" * 100, mode=0o4755),
        symlink("./usr/link", "y" * 150),
        hardlink("./usr/hard", "./usr/" + "y" * 150),
    ]
)
_HOSTILE = gnu_tar(
    [
        symlink("./up", "../outside"),
        TarMember("./up/file", b"through a link"),
        hardlink("./out", "../outside/file"),
        TarMember("../outside/file", b"above"),
        TarMember("/outside/file", b"absolute"),
    ]
)


@functools.cache
def _sparse() -> bytes:
    """Return a sparse member in each of the pax formats, as GNU tar's manual has them."""
    found = b""
    for records, body in (
        ({"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,2,8,2"}, b"abcd"),
        (
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
            b"1\n0\n4\n".ljust(512, b"\0") + b"abcd",
        ),
    ):
        buffer = io.BytesIO()
        info = tarfile.TarInfo("sparse")
        count = {"GNU.sparse.numblocks": "2"} if body == b"abcd" else {}
        info.pax_headers = {**records, **count, "GNU.sparse.realsize": "4096"}
        info.size = len(body)
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(info, io.BytesIO(body))
        found += buffer.getvalue()[:-1024].rstrip(b"\0")
        found += bytes(-len(found) % 512)
    return found + bytes(1024)


_TARS = (_PAX, _GNU, _HOSTILE, _sparse())


def _pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read_tar(content: bytes, _: Path) -> None:
    """Read every member; a valid tar is read as tarfile reads it."""
    stream = TarStream(_pieces(content), source="file.tar")
    found = []
    for header in stream:
        size = 0
        for piece in stream.body():
            size += len(piece)
            if size > _UNPACKED:  # A hole of terabytes is legal, and whoever unpacks it has limits.
                return
        assert size == header.size
        found.append((header.name, header.kind, header.size))
    with contextlib.suppress(tarfile.TarError, ValueError, OverflowError, RecursionError):
        with tarfile.open(fileobj=io.BytesIO(content), errors="surrogateescape") as tar:
            theirs = [member for member in tar if member.isreg() and not member.issparse()]
        names = {name.rstrip("/") for name, _, _ in found}
        # tarfile ends silently at damage, and takes what it does not know for a file.
        for member in theirs[: len(found)]:
            if member.type == tarfile.REGTYPE and not member.pax_headers:
                assert member.name.rstrip("/") in names, member.name


@st.composite
def _layers(draw: st.DrawFn) -> list[bytes]:
    return draw(st.lists(damaged_tar(*_TARS), min_size=1, max_size=3))


def unpack_layers(contents: list[bytes], directory: Path) -> None:
    """Unpack layers, whose digests are right, into a directory; the tree says what is there."""
    with tempfile.TemporaryDirectory() as folder:
        layers = [images.write_layer(Path(folder), content) for content in contents]
        tree = unpack(layers, directory, limits=Limits(bytes=_UNPACKED, entries=5000))
    on_disk = {"/" + str(path.relative_to(directory)) for path in directory.rglob("*")}
    kinds = {path: entry.kind for path, entry in tree.entries() if path != "/"}
    assert on_disk == {path for path, kind in kinds.items() if kind not in ("char", "block")}
    assert list(Tree.from_json(tree.to_json()).entries()) == list(tree.entries())


# .deb


def _deb(control: bytes, data: bytes, suffix: str) -> bytes:
    return ar_bytes(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{suffix}", packed(control, suffix)),
            (f"data.tar{suffix}", packed(data, suffix)),
        ]
    )


_CONTROL = gnu_tar(
    [TarMember("./control", control_file("libz")), TarMember("./md5sums", b"0" * 32 + b"  usr/a\n")]
)
_SUFFIXES = st.sampled_from(["", ".gz", ".xz", ".bz2"])
_DEBS = (
    damaged(*(_deb(_CONTROL, _GNU, suffix) for suffix in ("", ".gz", ".xz")))
    | st.builds(_deb, st.just(_CONTROL), damaged_tar(_GNU, _PAX, _HOSTILE), _SUFFIXES)
    | st.builds(_deb, damaged_tar(_CONTROL), st.just(_GNU), _SUFFIXES)
)


def read_deb(content: bytes, directory: Path) -> None:
    """Read a package in every way there is, and extract it."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "libz.deb")
        package.write_bytes(content)
        errors = []
        for read in (
            deb.control_fields,
            functools.partial(deb.read_file, name="usr/hard"),
            functools.partial(read_package, exclusions=Exclusions(())),
            DebExtractor(directory).extract,
        ):
            try:
                read(package)
            except ToolError as error:
                errors.append(error)
        if errors:
            raise errors[0]


# Compressed streams


def _decompress(method: str, content: bytes, _: Path) -> None:
    """Decompress in small and large pieces; a stream that is accepted is what its library says."""
    total = 0
    pieces = []
    for piece in Decompressor(_pieces(content, 61), method):
        assert len(piece) <= CHUNK
        total += len(piece)
        pieces.append(piece)
        if total > _UNPACKED:
            return
    whole = b"".join(pieces)
    assert Decompressor([content], method).read(_UNPACKED + 1) == whole
    if method == "xz":
        assert lzma.decompress(content) == whole
    elif method == "bzip2":
        assert bz2.decompress(content) == whole
    elif method == "gzip":
        assert gzip.decompress(content) == whole


def read_gzip_blocks(content: bytes, _: Path) -> None:
    """Read what our own compressor wrote; the fast reader and the general one agree."""
    found = b"".join(read_blocks([content]))
    assert found == Decompressor([content], "gzip" if content[:2] == b"\x1f\x8b" else "none").read(
        _UNPACKED
    )


def _streams() -> Iterator[Reader]:
    texts = (b"", b"abc" * 5000, bytes(range(256)) * 16, bytes(50_000))
    for method, compress in _METHODS.items():
        valid = [compress(text) for text in texts]
        if method == "zstd":
            valid.append(zstandard.ZstdCompressor(write_checksum=True).compress(texts[1]))
            valid.append(b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + valid[1])
        yield Reader(
            f"stream_{method}",
            damaged(*valid) | damaged_parts(valid),
            functools.partial(_decompress, method),
        )


def _blocks() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        layer = LayerWriter(mtime=0)
        layer.add_file("usr/a", bytes(range(256)) * 9000, mode=0o644)
        path = Path(folder, "layer.tar.gz")
        layer.write(path, descriptor=Path(folder, "layer.json"))
        return path.read_bytes()


# zip and wheels


_SBOM = b"""{"components": [
  {"bom-ref": "z", "name": "z", "version": "1", "purl": "pkg:cargo/z@1?arch=x",
   "licenses": [{"expression": "MIT"}], "externalReferences": [{"type": "vcs", "url": "u"}]}],
 "dependencies": [{"ref": "z", "dependsOn": ["z"]}]}"""


@functools.cache
def _wheel_bytes() -> bytes:
    wheel = TinyWheel(
        "demo",
        requires=("numpy>=1; python_version>'3'",),
        entry_points="[console_scripts]\ndemo = demo:main\n",
        files={
            "demo/__init__.py": b"x = 1\n",
            "demo-1.0.data/scripts/run": b"#!python\nprint()\n",
            "demo-1.0.data/data/etc/demo": b"x",
            "demo-1.0.dist-info/licenses/LICENSE": b"Copyright 2026 Somebody\n",
            "demo-1.0.dist-info/sboms/x.cdx.json": _SBOM,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        return write_wheel(wheel, directory=Path(folder)).read_bytes()


@st.composite
def _wheels(draw: st.DrawFn) -> bytes:
    """Damage the archive, or the text of one of its members in an archive that is right."""
    valid = _wheel_bytes()
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(valid))
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(valid)) as source, zipfile.ZipFile(buffer, "w") as target:
        members = source.infolist()
        chosen = draw(st.sampled_from(members)).filename
        for member in members:
            text = source.read(member).decode()
            if member.filename == chosen:
                text = draw(damaged_text(text))
            name = member.filename
            if draw(st.integers(0, 20)) == 0:
                name = draw(damaged_text(name)).replace("\n", "") or "x"
            with contextlib.suppress(ValueError, IndexError):  # no such name can be written
                target.writestr(name[:300], text.encode("utf-8", "replace"))
    return buffer.getvalue()


def _with_file(content: bytes, read: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "demo-1.0-py3-none-any.whl")
        path.write_bytes(content)
        return read(path)


def read_wheel_file(content: bytes, _: Path) -> None:
    """Read a wheel; whatever names its members have, its files are below /usr/local."""
    tree = stripped(_with_file(content, read_wheel))
    for file in tree.files:
        assert file.path.startswith("usr/local/"), file.path
        assert ".." not in file.path.split("/"), file.path


def describe_wheel_file(content: bytes, _: Path) -> None:
    """Describe a wheel for the SBOM."""
    _with_file(content, describe_wheel)


def read_zip(content: bytes, _: Path) -> None:
    """Read every member of a zip archive."""

    def read(path: Path) -> None:
        with open_zip(path) as archive:
            for member in archive.infolist():
                assert len(archive.read(member)) <= member.file_size

    _with_file(content, read)


def _zips() -> tuple[bytes, ...]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a/b.txt", b"content" * 100)
            archive.writestr("c", b"")
        found.append(buffer.getvalue())
    return tuple(found)


READERS = (
    Reader("tar", damaged_tar(*_TARS), read_tar, names="file.tar"),
    Reader("layers", _layers(), unpack_layers),
    Reader("deb", _DEBS, read_deb, names="libz.deb"),
    *_streams(),
    Reader("gzip_blocks", damaged(_blocks()), read_gzip_blocks),
    Reader("zip", damaged(*_zips()), read_zip, refusals=(*DAMAGE, ValueError, OSError)),
    Reader("wheel", _wheels(), read_wheel_file, names="demo-1.0"),
    Reader("wheel_sbom", _wheels(), describe_wheel_file, names="demo-1.0"),
)
