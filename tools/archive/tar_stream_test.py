"""Reading and verifying one layer."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tools.archive.tar_stream import BLOCK, LayerError, open_layer
from tools.image.images_for_test import Member, TestLayer, directory, tar_bytes, write_layer

PLENTY = 1 << 30


def read(layer: TestLayer, *, max_bytes: int = PLENTY) -> list[tuple[str, bytes]]:
    with open_layer(layer, max_bytes=max_bytes) as stream:
        return [(header.name, stream.read()) for header in stream]


def refused(layer: TestLayer, *, max_bytes: int = PLENTY) -> str:
    with pytest.raises(LayerError) as caught:
        read(layer, max_bytes=max_bytes)
    return str(caught.value)


def from_blob(folder: Path, blob: bytes, plain: bytes) -> TestLayer:
    path = folder / "blob"
    path.write_bytes(blob)
    return TestLayer(
        path,
        f"sha256:{hashlib.sha256(blob).hexdigest()}",
        len(blob),
        f"sha256:{hashlib.sha256(plain).hexdigest()}",
    )


def test_members_come_with_their_content_and_header(tmp_path: Path) -> None:
    big = bytes(range(256)) * 20_000
    members = [directory("d", 0o1777, 5, 6), Member("d/f", big, mode=0o4755, uid=7, gid=8)]
    layer = write_layer(tmp_path, tar_bytes(members))
    with open_layer(layer, max_bytes=PLENTY) as stream:
        headers = [(header, stream.read()) for header in stream]
    assert [(h.name, h.kind, h.mode, h.uid, h.gid, len(b)) for h, b in headers] == [
        ("d/", "dir", 0o1777, 5, 6, 0),
        ("d/f", "file", 0o4755, 7, 8, len(big)),
    ]
    assert headers[1][1] == big


def test_bodies_that_are_not_read_are_skipped(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, tar_bytes([Member("a", b"x" * 3_000_000), Member("b", b"y")]))
    with open_layer(layer, max_bytes=PLENTY) as stream:
        assert [header.name for header in stream] == ["a", "b"]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_links_and_large_owners_survive_in_pax_and_gnu(
    tmp_path: Path, form: int
) -> None:
    name, target = "n" * 300 + "\udcff", "t" * 300
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.uid, info.gid = tarfile.SYMTYPE, target, 2**31, 2**40
        tar.addfile(info)
    layer = write_layer(tmp_path, buffer.getvalue())
    with open_layer(layer, max_bytes=PLENTY) as stream:
        (header,) = list(stream)
    assert (header.name, header.linkname) == (name, target)
    assert (header.uid, header.gid, header.kind) == (2**31, 2**40, "symlink")


def test_uncompressed_and_several_gzip_members_are_read(tmp_path: Path) -> None:
    plain = tar_bytes([Member("a", b"1" * 5000)])
    assert read(from_blob(tmp_path, plain, plain)) == [("a", b"1" * 5000)]
    blob = gzip.compress(plain[:700]) + gzip.compress(plain[700:]) + bytes(100)
    assert read(from_blob(tmp_path, blob, plain)) == [("a", b"1" * 5000)]


def test_a_changed_blob_is_refused_with_both_digests(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, tar_bytes([Member("a", b"1")]))
    other = write_layer(tmp_path, tar_bytes([Member("a", b"2")]))
    message = refused(dataclasses.replace(layer, path=other.path))
    assert other.digest in message
    assert layer.digest in message
    assert "damaged, build it again" in message


def test_a_wrong_diff_id_is_refused(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, tar_bytes([Member("a", b"1")]))
    message = refused(dataclasses.replace(layer, diff_id="sha256:0"))
    assert "the image's config says diff_id sha256:0" in message


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, tar_bytes([]))
    layer.path.unlink()
    assert f"cannot be read: [Errno 2] No such file or directory: '{layer.path}'" in refused(layer)


def test_a_layer_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, tar_bytes([Member("zeros", bytes(50_000_000))]))
    assert "unpacks to more than 1000000 bytes" in refused(layer, max_bytes=1_000_000)


def corrupt(plain: bytes, at: int, value: bytes, *, checksum: bool = True) -> bytes:
    """Changes header bytes and, unless told otherwise, repairs the header's checksum."""
    data = bytearray(plain)
    data[at : at + len(value)] = value
    if checksum:
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    return bytes(data)


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (lambda p: corrupt(p, 0, b"zz", checksum=False), "wrong checksum"),
        (lambda p: corrupt(p, 124, b"9999"), "the size b'9999"),
        (lambda p: corrupt(p, 108, b"\xff" * 8), "negative uid"),
        (lambda p: corrupt(p, 156, b"S"), "unsupported type b'S'"),
        (lambda p: p[:600], "ends in the middle of a member"),
        (lambda p: p[: BLOCK * 4], "ends in the middle of a member"),
        (lambda p: corrupt(p, 156, b"x"), "a pax header is malformed"),
        (lambda p: corrupt(corrupt(p, 156, b"x"), 124, b"77777777777"), "larger than 1048576"),
    ],
)
def test_damaged_archives_are_refused_with_the_cause(
    tmp_path: Path, broken: object, cause: str
) -> None:
    plain = tar_bytes([Member("a", b"not a pax record" * 100)])
    layer = write_layer(tmp_path, broken(plain))  # type: ignore[operator]
    assert cause in refused(layer)


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({"GNU.sparse.major": "1"}, "'a' is sparse"),
        ({"size": "-1"}, "size='-1', which is negative"),
        ({"uid": "me"}, "uid='me', which is not a number"),
    ],
)
def test_hostile_pax_headers_are_refused(
    tmp_path: Path, headers: dict[str, str], cause: str
) -> None:
    record = b"".join(_record(key, value) for key, value in headers.items())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("PaxHeaders/a")
        info.type, info.size = tarfile.XHDTYPE, len(record)
        tar.addfile(info, io.BytesIO(record))
        tar.addfile(tarfile.TarInfo("a"))
    assert cause in refused(write_layer(tmp_path, buffer.getvalue()))


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n"
    return f"{len(rest) + 2}{rest}".encode()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            lambda blob: blob[: len(blob) // 2],
            "gzip data ends before its end mark; the file is cut short; build the",
        ),
        (lambda blob: blob[:40] + b"\xff" * 40 + blob[80:], "gzip data is corrupt: "),
    ],
)
def test_damaged_compression_is_refused(tmp_path: Path, change: object, cause: str) -> None:
    plain = tar_bytes([Member("a", bytes(range(256)) * 400)])
    blob = change(gzip.compress(plain, mtime=0))  # type: ignore[operator]
    assert cause in refused(from_blob(tmp_path, blob, plain))
