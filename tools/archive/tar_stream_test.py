"""Reading and verifying one layer."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path

import pytest

from tools.archive.layer_stream import open_layer
from tools.archive.tar_stream import BLOCK, MAX_EXTENSION, LayerError, TarStream
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
    blob = gzip.compress(plain[:700]) + gzip.compress(plain[700:])
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
        (lambda p: corrupt(p, 108, b"+000001\0"), "the uid b'+000001', which is not octal"),
        (lambda p: corrupt(p, 329, b"zz"), "the major b'zz"),
        (lambda p: corrupt(p, 156, b"S"), "type b'S'; sparse files must be in the pax format"),
        (lambda p: corrupt(p, 156, b"7"), "unsupported type b'7'"),
        (lambda p: corrupt(p, 156, b"g"), "a pax header is malformed"),
        (lambda p: p[: BLOCK * 5] + bytes(BLOCK) + p, "a block of zeros is followed by more"),
        (lambda p: p[: BLOCK * 5] + p[:100], "ends in the middle of a header"),
        (lambda p: p[: BLOCK * 5] + bytes(700), "ends in the middle of its end mark"),
        (lambda p: corrupt(corrupt(p, 156, b"L"), 124, b"00000077777"), "an extension header"),
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
        ({"size": "-1"}, "size='-1', which is negative"),
        ({"size": "9" * 5000}, ", which is not a number"),
        ({"uid": "me"}, "uid='me', which is not a number"),
        ({"uid": "1.5"}, "uid='1.5', which is not a number"),
        ({"gid": "1_0"}, "gid='1_0', which is not a number"),
        ({"atime": "now"}, "atime='now', which is not a number"),
        ({"": "x"}, "a pax header is malformed"),
    ],
)
def test_hostile_pax_headers_are_refused(
    tmp_path: Path, headers: dict[str, str], cause: str
) -> None:
    archive = _pax(headers) + _member("a") + _END
    assert cause in refused(write_layer(tmp_path, archive))


@pytest.mark.parametrize("length", [b"5000", b"9" * 5000, b"-5", b"1_1", b"7"])
def test_a_pax_record_with_a_wrong_length_is_refused(tmp_path: Path, length: bytes) -> None:
    archive = _member("x", length + b" path=b\n", kind=b"x") + _member("a") + _END
    assert "a pax header is malformed" in refused(write_layer(tmp_path, archive))


_END = bytes(2 * BLOCK)


def _member(name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return corrupt(header, 0, name.encode()) + data + bytes(-len(data) % BLOCK)


def _pax(headers: dict[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    return _member("x", b"".join(_record(*item) for item in headers.items()), kind=kind)


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n"
    size = len(rest) + len(str(len(rest)))
    return f"{len(rest) + len(str(size))}{rest}".encode()


# podman and umoci unpack these alike, except where a comment says otherwise.
@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        (_member("a", b"1" * 512) + _member("b", b"2"), ["a", "b"]),  # no end mark: older umoci
        ((_member("a", b"1" * 512) + _member("b", b"2"))[: -BLOCK + 1], ["a", "b"]),  # no padding
        (_member("a") + bytes(BLOCK), ["a"]),
        (_member("a") + _END + b"garbage", ["a"]),
        (_member("a") + _END + _member("b"), ["a"]),
        (_member("a") + _pax({"path": "b"}), ["a"]),
        (b"", []),
        (bytes(BLOCK), []),
        (_pax({"path": "", "size": "", "uid": "", "mtime": ""}) + _member("a") + _END, ["a"]),
        (_pax({"path": "b"}) + _member("L", b"c\0", kind=b"L") + _member("a") + _END, ["c"]),
        (_member("L", b"c\0", kind=b"L") + _pax({"path": "b"}) + _member("a") + _END, ["c"]),
        (_pax({"path": "b"}, b"g") + _member("a") + _END, ["a"]),  # umoci refuses global headers
        (_pax({"path": "b"}) + _pax({"x": "y"}, b"g") + _member("a") + _END, ["a"]),
        (_pax({"path": "b"}) + _pax({"x": "y"}) + _member("a") + _END, ["a"]),
        (_pax({"GNU.sparse.major": "1"}) + _member("a") + _END, ["a"]),
        (_pax({"GNU.sparse.major": "2", "GNU.sparse.minor": "0"}) + _member("a") + _END, ["a"]),
    ],
)
def test_archives_are_read_as_engines_read_them(
    tmp_path: Path, archive: bytes, expected: list[str]
) -> None:
    assert [name for name, _ in read(write_layer(tmp_path, archive))] == expected
    for size in (1, 511, 513):
        pieces = (archive[start : start + size] for start in range(0, len(archive), size))
        assert [header.name for header in TarStream(pieces, source="")] == expected


def test_an_empty_file_is_an_archive_without_members(tmp_path: Path) -> None:
    assert read(from_blob(tmp_path, b"", b"")) == []


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [("0", "x/", "file"), ("0", "x", "file"), ("\0", "x/", "dir"), ("\0", "x", "file")],
)
def test_a_slash_at_the_end_makes_a_directory_only_before_posix(
    tmp_path: Path, kind: str, name: str, expected: str
) -> None:
    archive = corrupt(_member(name) + _END, 156, kind.encode())
    with open_layer(write_layer(tmp_path, archive), max_bytes=PLENTY) as stream:
        assert [header.kind for header in stream] == [expected]


def test_a_checksum_of_signed_bytes_is_accepted(tmp_path: Path) -> None:
    archive = bytearray(_member("caf\u00e9") + _END)
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(memoryview(bytes(archive[:BLOCK])).cast("b"))
    assert [name for name, _ in read(write_layer(tmp_path, bytes(archive)))] == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("at", "value", "name", "mtime"),
    [
        (136, (-5).to_bytes(12, "big", signed=True), "a", -5),
        (136, b"\x80" + (1 << 40).to_bytes(11, "big"), "a", 1 << 40),
        (136, b"7\0junk", "a", 7),
        (345, b"p" * 131 + b"1" * 24 + bytes(8) + b"tar\0", "p" * 131 + "/a", 0),  # star
        (257, bytes(8) + bytes(64) + b"junk junk", "a", 0),  # before POSIX, not device numbers
    ],
)
def test_numbers_and_prefixes_are_read_in_every_format(
    tmp_path: Path, at: int, value: bytes, name: str, mtime: int
) -> None:
    layer = write_layer(tmp_path, corrupt(_member("a") + _END, at, value))
    with open_layer(layer, max_bytes=PLENTY) as stream:
        assert [(header.name, header.mtime) for header in stream] == [(name, mtime)]


# A file of 3 MiB: "begin" at its start, "middle" at 1 MiB, the rest holes.
_SPARSE_TARS = {
    "bsdtar 3.6.2": (
        "c-rmMK}y6h6vpwabBdgxzO+d@F1poOi69;z(jb+#md1g>)7w!7oGx5h8HfLGljN<E_xN%j_S+bmI9;Vttwcmh=geW9E"
        "mslitT}EgFGj5O)+w`Be_)s1!Zcsy7an=?xPKzg&F$S|mc}rpnDyc1b*imiRNG;$%Az`iKGtc}h5cTgV(3!)9_zw7U*"
        "#LEaL(q@J$z2?rtM-TtNa2#=RdcH!)gBWLcB6U{#RFM(N3;QZN+VTRel|g;T7V0;hy4iJJ1FI00000E?VC<O&93{000"
        "0000000000000000000000=i~z?ZBXR"
    ),
    "GNU 0.0": (
        "c-rmLOK!q25P)H?eTtj_ITJs^B5QWt^#D9f6_rPXgVb_*0s<68EZRj|LH}<v){I6TTbf4wJk#;ko?~YiO(EfW&VxJUy"
        "*RJ3k6)Ng?NdA5byuqYNkTSxc^#!@x=V4C>O-uG+`1s87T+&z_UqYdJAY4Ap{3|ow##LTZDq8S!-mf`rplVJ*D}7-k{"
        "esP;J@E^8`0fuG+N<nQuEjQFa6wQ|ATWuW#*CgfB3iuF^g~YhBW{H0002ssjch9VioxZ00000007__9RXx^WMc"
    ),
    "GNU 0.1": (
        "c-rmLOHRWu5P)H?bBY`wN+*sV=^|UYV}m$AN-Y$T6sv9}#OVnwLZN$#TK;b{_E_?3G*SINnK)yPadIA|^0oRN+Rwbx)"
        "~fvN0(Vn~wC{G)k?McaK40BGmMM0-6w1`UhqkVa^}5Nln=fq-<9c{~dP!}aY5ilR8$+97W}10+>|!g0k)<mtF^%=^H2"
        "K=SkWAt4m5Zrn566<-^+PCYElw6GUatT3Ja_8<N_%fqF4xrm=a0J*>+sxfX#)TN0001P+SqS4L*O3(000000DxQc0T;"
        "_k{Q"
    ),
    "GNU 1.0": (
        "c-rmLF>b>k7=~eHPT><cfH9<l*JkTd^#D{s6_xE+rje?izBEy!$a|y4eV^qw-+}>sllXnAaMqq?v7Aa<efieD{mGpvq"
        "x!tTzlmf12y@v|{7=SIyQh~rPhrln9>V)!?zCK_X)LK)q+=LjmnYfi>vWEx&*>|6jkc{fTPg6D)tmBo&!@M0Ons~yqn"
        "zI4>301$`YJp3UmNe8sMJ06e|fk&(MTn&dT>%JyKTKYFD~U()OY1x<69cJ1^@s60035PNc(*sxd#9M00000V2!>3DTY"
        "gj"
    ),
}


@pytest.mark.parametrize("tar", _SPARSE_TARS)
def test_sparse_files_of_todays_tars_are_read(tmp_path: Path, tar: str) -> None:
    layer = write_layer(tmp_path, zlib.decompress(base64.b85decode(_SPARSE_TARS[tar])))
    content = b"begin".ljust(1 << 20, b"\0") + b"middle".ljust(2 << 20, b"\0")
    assert read(layer) == [("sp", content)]
    with open_layer(layer, max_bytes=PLENTY) as stream:  # nothing of the body is read
        assert [(header.name, header.size) for header in stream] == [("sp", 3 << 20)]


_SPARSE_1_0 = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "n",
    "GNU.sparse.realsize": "20",
}


def _sparse(map_: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE) -> bytes:
    stored = map_.encode() + bytes(-len(map_) % BLOCK) + data
    return _pax(_SPARSE_1_0) + _member("a", stored, kind=kind) + _member("last") + _END


def test_a_map_without_parts_is_a_file_of_zeros(tmp_path: Path) -> None:
    assert read(write_layer(tmp_path, _sparse("0\n"))) == [("n", bytes(20)), ("last", b"")]
    old = {"GNU.sparse.map": "5,3", "GNU.sparse.numblocks": "1", "GNU.sparse.size": "10"}
    archive = _pax(old) + _member("a", b"abc")
    assert read(write_layer(tmp_path, archive)) == [("a", bytes(5) + b"abc" + bytes(2))]


@pytest.mark.parametrize(
    ("archive", "cause"),
    [
        (_sparse("1\n10\n3\n", b"abcd"), "does not fit its data"),
        (_sparse("1\n10\n3\n", b"ab"), "does not fit its data"),
        (_sparse("2\n10\n3\n12\n3\n", b"abcdef"), "does not fit its data"),
        (_sparse("1\n18\n3\n", b"abc"), "does not fit its data"),
        (_sparse("1\nx\n3\n", b"abc"), "'n' has a malformed map of its sparse parts"),
        (_sparse("x\n10\n3\n", b"abc"), "malformed map"),
        (_sparse("-1\n"), "malformed map"),
        (_sparse("9\n10\n3\n", b"abc"), "malformed map"),
        (_sparse(""), "malformed map"),
        (_sparse("0" * (MAX_EXTENSION + BLOCK)), "malformed map"),
        (_sparse("0\n", kind=tarfile.DIRTYPE), "'n' is sparse, and it is a dir"),
        (_pax({"GNU.sparse.map": "5,3"}) + _member("a", b"abc"), "malformed map"),
    ],
)
def test_malformed_sparse_members_are_refused(tmp_path: Path, archive: bytes, cause: str) -> None:
    assert cause in refused(write_layer(tmp_path, archive))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            lambda blob: blob[: len(blob) // 2],
            "gzip data ends before its end mark; the file is cut short; build the",
        ),
        (lambda blob: blob + bytes(100), "gzip data is followed by zeros, which engines refuse"),
        (lambda blob: blob[:40] + b"\xff" * 40 + blob[80:], "gzip data is corrupt: "),
    ],
)
def test_damaged_compression_is_refused(tmp_path: Path, change: object, cause: str) -> None:
    plain = tar_bytes([Member("a", bytes(range(256)) * 400)])
    blob = change(gzip.compress(plain, mtime=0))  # type: ignore[operator]
    assert cause in refused(from_blob(tmp_path, blob, plain))
