"""A layer's bytes depend on its entries alone; entries that contradict each other are refused."""

import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.archive.layer import LayerError, LayerWriter, normalise
from tools.cli import ToolError

_LONG = "a/" * 140 + "end"


def _write(layer: LayerWriter, directory: Path, *, jobs: int | None = None) -> Path:
    out = directory / "layer.tar.gz"
    layer.write(out, directory / "layer.json", jobs=jobs)
    return out


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def _sample(*, backwards: bool = False) -> LayerWriter:
    layer = LayerWriter(mtime=1_700_000_000)
    steps: list[Callable[[], None]] = [
        lambda: layer.add_dir("tmp", mode=0o1777),
        lambda: layer.add_file("usr/bin/x", b"x" * 1000, mode=0o755, uid=3, gid=4),
        lambda: layer.add_file("./usr//bin/empty", b"", mode=0o600),
        lambda: layer.add_symlink("usr/lib/libz.so.1", "libz.so.1.2"),
        lambda: layer.add_hardlink("usr/bin/a", "usr/bin/x"),
        lambda: layer.add_file("F\u0151/" + _LONG, b"deep", mode=0o644),
        lambda: layer.add_file("usr/bin-old", b"", mode=0o644),
    ]
    for step in reversed(steps) if backwards else steps:
        step()
    return layer


def test_order_of_adding_threads_umask_and_clock_change_no_byte(tmp_path: Path) -> None:
    results = set()
    for number, backwards in enumerate((False, True, False, True), start=1):
        directory = tmp_path / f"dir{number}"
        directory.mkdir()
        old = os.umask(0o077 if backwards else 0)
        try:
            out = _write(_sample(backwards=backwards), directory, jobs=number)
        finally:
            os.umask(old)
        results.add((out.read_bytes(), (directory / "layer.json").read_text()))
        assert out.stat().st_mode & 0o777 == 0o644
        assert sorted(path.name for path in directory.iterdir()) == ["layer.json", "layer.tar.gz"]
    assert len(results) == 1


def test_the_descriptor_is_what_independent_hashing_finds(tmp_path: Path) -> None:
    out = _write(_sample(), tmp_path)
    packed = out.read_bytes()
    assert json.loads((tmp_path / "layer.json").read_text()) == {
        "compression": "gzip",
        "diff_id": f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}",
        "digest": f"sha256:{hashlib.sha256(packed).hexdigest()}",
        "size": len(packed),
    }


def test_entries_are_sorted_and_complete_with_their_parents(tmp_path: Path) -> None:
    members = _members(_write(_sample(), tmp_path))
    names = list(members)
    assert names == sorted(names, key=str.encode)
    assert {"usr", "usr/bin", "F\u0151"} < set(names)
    assert names.index("usr") < names.index("usr/bin") < names.index("usr/bin/x")
    assert members["usr"].isdir()
    assert members["usr"].mode == 0o755
    assert members["F\u0151/" + _LONG].size == 4


def test_every_entry_has_the_time_and_numbers_only(tmp_path: Path) -> None:
    for member in _members(_write(_sample(), tmp_path)).values():
        assert member.mtime == 1_700_000_000
        assert (member.uname, member.gname) == ("", "")
        assert not {"atime", "ctime", "mtime"} & member.pax_headers.keys()
    member = _members(tmp_path / "layer.tar.gz")["usr/bin/x"]
    assert (member.uid, member.gid) == (3, 4)


def test_plain_names_need_no_extended_header(tmp_path: Path) -> None:
    layer = LayerWriter(mtime=0)
    layer.add_file("a", b"1", mode=0o644)
    raw = gzip.decompress(_write(layer, tmp_path).read_bytes())
    assert len(raw) == 512 + 512 + 1024
    assert raw[257:265] == b"ustar\x0000"


def test_setuid_and_setgid_never_reach_an_image(tmp_path: Path) -> None:
    layer = LayerWriter(mtime=0)
    layer.add_file("su", b"", mode=0o6755)
    layer.add_file("sticky", b"", mode=0o1644)
    layer.add_dir("mail", mode=0o2775)
    layer.add_dir("tmp", mode=0o1777)
    modes = {name: member.mode for name, member in _members(_write(layer, tmp_path)).items()}
    assert modes == {"su": 0o755, "sticky": 0o644, "mail": 0o775, "tmp": 0o1777}


def test_the_first_name_of_a_file_has_the_content_and_the_others_link_to_it(tmp_path: Path) -> None:
    layer = LayerWriter(mtime=0)
    layer.add_hardlink("a/link", "z/middle")
    layer.add_hardlink("z/middle", "m/file")
    layer.add_file("m/file", b"content", mode=0o755)
    members = _members(_write(layer, tmp_path))
    assert members["a/link"].isreg()
    assert members["a/link"].mode == 0o755
    for name in ("m/file", "z/middle"):
        assert members[name].islnk()
        assert members[name].linkname == "a/link"


def test_unpacking_gives_back_what_was_added(tmp_path: Path) -> None:
    out = _write(_sample(), tmp_path)
    with tarfile.open(out) as tar:
        content = tar.extractfile("usr/bin/x")  # through the hard link
        assert content is not None
        assert content.read() == b"x" * 1000
        assert tar.getmember("usr/lib/libz.so.1").linkname == "libz.so.1.2"


def test_the_same_entry_twice_is_one() -> None:
    layer = LayerWriter(mtime=0)
    for _ in range(2):
        layer.add_file("a", b"1", mode=0o644)
        layer.add_dir("d")
    assert len(layer) == 2


def test_entries_that_differ_at_one_path_are_refused() -> None:
    layer = LayerWriter(mtime=0)
    layer.add_file("a", b"1", mode=0o644)
    with pytest.raises(LayerError, match=r"a: added twice: .* with different content"):
        layer.add_file("a", b"2", mode=0o644)
    with pytest.raises(LayerError, match="file 0644 0:0, 1 bytes, then file 0600"):
        layer.add_file("a", b"1", mode=0o600)
    with pytest.raises(LayerError, match="then symlink 0777 0:0 -> b"):
        layer.add_symlink("a", "b")


def test_nothing_is_written_through_a_link_or_a_file(tmp_path: Path) -> None:
    layer = LayerWriter(mtime=0)
    layer.add_symlink("lib", "usr/lib")
    layer.add_file("lib/deep/x", b"", mode=0o644)
    with pytest.raises(LayerError, match="lib/deep/x: lies below lib, which is a symlink"):
        _write(layer, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["absent", "a/dir", "one"])
def test_a_hard_link_needs_a_file(target: str) -> None:
    layer = LayerWriter(mtime=0)
    layer.add_dir("a/dir")
    layer.add_hardlink("one", "two")
    layer.add_hardlink("two", "one")
    layer.add_hardlink("link", target)
    with pytest.raises(LayerError, match="not a file of this layer"):
        layer.entries()


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/etc/passwd", "relative"),
        ("a/../b", "relative"),
        ("..", "relative"),
        ("", "root directory itself"),
        ("./", "root directory itself"),
        ("a/.wh.b", "marks a deletion"),
        (".wh..wh..opq", "marks a deletion"),
        ("a\nb", "control character"),
        ("a\udcffb", "not UTF-8"),
    ],
)
def test_invalid_paths_are_refused(path: str, cause: str) -> None:
    layer = LayerWriter(mtime=0)
    with pytest.raises(LayerError, match=cause):
        layer.add_file(path, b"", mode=0o644)


def test_a_symlink_needs_a_target() -> None:
    with pytest.raises(LayerError, match="needs a target"):
        LayerWriter(mtime=0).add_symlink("a", "")


def test_a_failure_leaves_no_half_written_layer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _sample().write(tmp_path / "no" / "layer.tar.gz", tmp_path / "layer.json")
    (tmp_path / "taken.tar").mkdir()
    with pytest.raises(IsADirectoryError):
        _sample().write(tmp_path / "taken.tar", tmp_path / "layer.json")
    with pytest.raises(ToolError, match="gzip has no level 99"):
        _sample().write(tmp_path / "layer.tar.gz", tmp_path / "layer.json", level=99)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.tar"]


@pytest.mark.parametrize(
    ("name", "compression"), [("a.tar", "none"), ("a.tar.gz", "gzip"), ("a.tar.zst", "zstd")]
)
def test_the_extension_says_the_compression(tmp_path: Path, name: str, compression: str) -> None:
    descriptor = _sample().write(tmp_path / name, tmp_path / "layer.json")
    plain = _sample().write(tmp_path / "plain.tar", tmp_path / "plain.json")
    assert descriptor.compression == compression
    assert descriptor.diff_id == plain.diff_id == plain.digest


def test_normalising_twice_changes_nothing_more() -> None:
    for path in ("./a//b/", "a/./b", "a/b"):
        assert normalise(path) == "a/b" == normalise(normalise(path))
