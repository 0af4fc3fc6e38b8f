"""Packages are read as dpkg would, and what dpkg would refuse is refused by name and cause."""

import re
import sys
import tarfile
from pathlib import Path

import pytest

from tools.archive import deb
from tools.archive.debs_for_test import (
    TarMember,
    ar_bytes,
    control,
    directory,
    packed,
    tar_bytes,
    write_deb,
)

_CONTROL = packed(tar_bytes([TarMember("./control", control("pkg"))]), ".xz")
_DATA = packed(tar_bytes([directory("./"), TarMember("./usr/bin/x", b"content")]), ".xz")


def _write(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.write_bytes(ar_bytes(members))
    return path


def _deb(path: Path, *, data: bytes = _DATA, data_name: str = "data.tar.xz") -> Path:
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", _CONTROL), (data_name, data)]
    return _write(path / "pkg.deb", members)


def _read_all(path: Path) -> list[str]:
    with deb.data_tar(path) as tar:
        return [member.name for member in tar]


def _refusal(path: Path) -> str:
    with pytest.raises(deb.DebError) as refused:
        _read_all(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2"])
def test_a_package_is_read_whatever_compresses_it(tmp_path: Path, suffix: str) -> None:
    path = write_deb(
        tmp_path, "pkg", [TarMember("./a", b"12")], files={"md5sums": b"sums"}, suffix=suffix
    )
    with deb.data_tar(path) as tar:
        content = tar.extractfile("./a")
        assert content is not None
        assert content.read() == b"12"
    assert deb.control_files(path)["md5sums"] == b"sums"
    fields = deb.control_fields(path)
    assert fields["package"] == "pkg"
    assert fields["description"] == "made for a test\nof this folder"


def test_members_that_begin_with_an_underscore_mean_nothing(tmp_path: Path) -> None:
    members = [("debian-binary", b"2.1\n"), ("_gpgorigin", b"?")]
    path = _write(
        tmp_path / "a.deb", [*members, ("control.tar.xz", _CONTROL), ("data.tar.xz", _DATA)]
    )
    assert _read_all(path) == [".", "./usr/bin/x"]


def test_zstd_without_its_module_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = _deb(tmp_path, data=b"\x28\xb5\x2f\xfd", data_name="data.tar.zst")
    assert "module 'zstandard' is missing" in _refusal(path)


def test_a_package_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = _deb(tmp_path).read_bytes()
    path = tmp_path / "cut.deb"
    for length in [*range(0, 300, 7), *range(300, len(whole) - 1, 11)]:
        path.write_bytes(whole[:length])
        with pytest.raises(deb.DebError, match=r"cut\.deb"):
            _read_all(path)


def test_a_data_archive_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    plain = tar_bytes([TarMember("./a", b"1" * 600), TarMember("./b", b"2" * 600)])
    for length in (512, 700, 1536, 2048, 3000):
        path = _deb(tmp_path, data=plain[:length], data_name="data.tar")
        with pytest.raises(deb.DebError, match=r"data\.tar"):
            _read_all(path)


def test_a_damaged_header_amid_the_archive_is_not_taken_for_its_end(tmp_path: Path) -> None:
    plain = bytearray(tar_bytes([TarMember("./a", b"1"), TarMember("./b", b"2")]))
    plain[1024 + 150] ^= 0xFF  # in the second header's checksum
    path = _deb(tmp_path, data=bytes(plain), data_name="data.tar")
    assert "damaged header at byte 1024" in _refusal(path)


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ([], "members are none"),
        ([("debian-binary", b"2.0\n"), ("data.tar", b""), ("control.tar", b"")], "in this order"),
        ([("debian-binary", b"2.0\n"), ("control.tar.xz", _CONTROL)], "in this order"),
        (
            [("debian-binary", b"3.0\n"), ("control.tar.xz", _CONTROL), ("data.tar.xz", _DATA)],
            "format version",
        ),
        (
            [("debian-binary", b"2.0\n"), ("control.tar.xz", _CONTROL), ("data.tar.lz9", _DATA)],
            "compression '.lz9' is not supported",
        ),
        ([("debian-binary", b"2.0\n"), ("debian-binary", b"2.0\n")], "two members are named"),
    ],
)
def test_archive_that_is_not_a_package_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], cause: str
) -> None:
    assert cause in _refusal(_write(tmp_path / "bad.deb", members))


def test_file_that_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.deb"
    path.write_bytes(b"<html>not found</html>")
    assert "not a Debian package" in _refusal(path)


def test_a_member_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    path = _deb(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(f"{len(_DATA):<10}".encode(), b"9999999999"))
    assert "is truncated" in _refusal(path)


def test_size_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    path = _deb(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(f"{len(_DATA):<10}".encode(), b"-1        "))
    assert "is not a number" in _refusal(path)


def test_a_file_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("./a")
    info.size = 1 << 40
    plain = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    assert "unexpected end of data" in _refusal(_deb(tmp_path, data=plain, data_name="data.tar"))


def test_a_negative_size_cannot_send_the_reader_in_circles(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("./a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"  # base-256: -256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = _deb(tmp_path, data=bytes(header) + bytes(1024), data_name="data.tar")
    assert "data.tar" in _refusal(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50)},  # fills every disk
        {"GNU.sparse.map": "a,b", "GNU.sparse.size": "5"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "q"},
        {"GNU.sparse.offset": "z", "GNU.sparse.numbytes": "1", "GNU.sparse.size": "9"},
        {"path": "./usr/a"},
        {"linkpath": "a\0b"},
        {"size": "-5"},
    ],
)
def test_what_dpkg_does_not_know_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    info = tarfile.TarInfo("./a")
    info.pax_headers = headers
    info.size = len(b"junk\n" * 200)
    plain = info.tobuf(tarfile.PAX_FORMAT) + (b"junk\n" * 200).ljust(1024, b"\0") + bytes(1024)
    message = _refusal(_deb(tmp_path, data=plain, data_name="data.tar"))
    assert re.search(
        "data.tar: .*(sparse or has a pax header|(malformed|damaged) header|a negative size)",
        message,
    )


def test_a_sparse_file_of_old_gnu_tar_is_refused(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("./a").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[483:495] = b"\x80" + (1 << 50).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = _deb(tmp_path, data=bytes(header) + bytes(1024), data_name="data.tar")
    assert "member './a' is sparse or has a pax header" in _refusal(path)


def test_a_bomb_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deb, "MAX_UNPACKED", 1 << 20)
    for suffix in (".xz", ".gz", ".bz2"):
        bomb = packed(bytes(8 << 20), suffix)
        path = _deb(tmp_path, data=bomb, data_name=f"data.tar{suffix}")
        assert "unpacks to more than 1048576 bytes" in _refusal(path)


def test_garbage_after_the_compressed_data_is_refused(tmp_path: Path) -> None:
    path = _deb(tmp_path, data=_DATA + b"garbage!")
    assert "*.tar.xz: xz data is corrupt" in _refusal(path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"Package: a\nVersion: 1\n", "no field 'Architecture'"),
        (b" continued\n", "control: line 1: continuation line ' continued' comes before any field"),
        (b"Package: a\npackage: b\n", "control: line 2: field 'package' appears twice"),
        (b"Package: a\n\nPackage: b\n", "control has 2 paragraphs, expected one"),
        (b"Package a\n", "control: line 1: 'Package a' is not a 'Name: value' line"),
        (b"Package: \xff\n", "control: is not UTF-8"),
    ],
)
def test_a_malformed_control_file_is_refused(tmp_path: Path, content: bytes, cause: str) -> None:
    path = write_deb(tmp_path, "pkg", files={"control": content})
    with pytest.raises(deb.DebError, match=r"pkg_1\.0_amd64\.deb") as refused:
        deb.control_fields(path)
    assert cause in str(refused.value)


def test_one_file_is_read_by_its_name(tmp_path: Path) -> None:
    path = write_deb(tmp_path, "pkg", [directory("./usr/bin/"), TarMember("./usr//bin/x", b"1")])
    assert deb.read_file(path, "usr/bin/x") == b"1"
    assert deb.read_file(path, "usr/bin") is None
    assert deb.read_file(path, "usr/bin/y") is None


def test_control_files_are_plain_and_flat(tmp_path: Path) -> None:
    for name in ("deep/file", "../file"):
        path = write_deb(tmp_path, "pkg", files={name: b""})
        with pytest.raises(deb.DebError):
            deb.control_files(path)


@pytest.mark.parametrize(
    ("name", "path"),
    [("./usr//bin/x", "usr/bin/x"), ("./", ""), (".", ""), ("usr/./lib/", "usr/lib")],
)
def test_names_are_normalised(name: str, path: str) -> None:
    assert deb.relative_path(name, of="x.deb") == path


@pytest.mark.parametrize("name", ["/etc/passwd", "./../etc/passwd", "a/../../b", "a\nb", "a\0b"])
def test_names_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(deb.DebError, match=r"x\.deb"):
        deb.relative_path(name, of="x.deb")


def test_the_locale_cannot_change_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile, "ENCODING", "latin-1")
    plain = tar_bytes([])
    info = tarfile.TarInfo("./F\u0151tan\u00fas")
    plain = info.tobuf(tarfile.GNU_FORMAT, encoding="utf-8") + plain
    assert _read_all(_deb(tmp_path, data=plain, data_name="data.tar")) == ["./F\u0151tan\u00fas"]


def test_an_error_of_the_reader_of_a_package_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), deb.data_tar(_deb(tmp_path)):
        raise OSError("disk full")


def test_the_command_prints_fields_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _deb(tmp_path)
    assert deb.main(["--deb", str(path)]) == 0
    assert "Package: pkg" in capsys.readouterr().out
    path.write_bytes(b"")
    assert deb.main(["--deb", str(path)]) == 1
    assert "not a Debian package" in capsys.readouterr().err


def test_a_member_with_a_thousand_extension_headers_is_refused(tmp_path: Path) -> None:
    header, member = tar_bytes([TarMember("x" * 150)])[:1024], tar_bytes([TarMember("a")])
    path = tmp_path / "deep.deb"
    content = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", b""),
        ("data.tar", header * 2000 + member),
    ]
    path.write_bytes(ar_bytes(content))
    with pytest.raises(deb.DebError, match=r"deep.deb: data.tar: malformed header at byte 0: "):
        deb.data_tar(path).__enter__()
