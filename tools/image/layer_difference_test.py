"""Every property of a member that may differ is named, and so is the place in its content."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tools.archive.tar_stream import LayerError, TarStream
from tools.image.images_for_test import Member, directory, hard_link, link, tar_bytes
from tools.image.layer_difference import (
    Change,
    Field,
    content_difference,
    differences,
    read_members,
    tar_of,
)


def stream(*members: Member | tarfile.TarInfo) -> TarStream:
    return TarStream(iter([raw(*members)]), source="layer")


def raw(*members: Member | tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                with tarfile.open(fileobj=io.BytesIO(tar_bytes([member]))) as one:
                    info = one.getmembers()[0]
                    tar.addfile(info, io.BytesIO(member.data))
    return buffer.getvalue()


def special(kind: bytes, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo("a")
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (Member("a"), directory("a"), (Field.TYPE, "type", "file, 0 bytes", "dir")),
        (
            special(tarfile.CHRTYPE, devmajor=1, devminor=3),
            special(tarfile.CHRTYPE, devmajor=1, devminor=5),
            (Field.TYPE, "device number", "1:3", "1:5"),
        ),
        (
            Member("a", b"1"),
            Member("a", b"22"),
            (Field.CONTENT, "content", "1 bytes", "2 bytes"),
        ),
        (link("a", "b"), link("a", "c"), (Field.TARGET, "link target", "b", "c")),
        (hard_link("a", "b"), hard_link("a", "c"), (Field.TARGET, "link target", "b", "c")),
        (Member("a"), Member("a", mode=0o4755), (Field.MODE, "mode", "0644", "4755")),
        (Member("a"), Member("a", gid=5), (Field.OWNER, "owner", "0:0", "0:5")),
        (
            special(tarfile.REGTYPE, gname="adm"),
            special(tarfile.REGTYPE),
            (Field.OWNER_NAME, "owner's name", ":adm", ":"),
        ),
        (
            special(tarfile.REGTYPE, pax_headers={"SCHILY.xattr.user.a": "1"}),
            special(tarfile.REGTYPE, pax_headers={"LIBARCHIVE.xattr.user.b": "2"}),
            (Field.XATTR, "extended attribute user.b", "none", "'2'"),
        ),
        (
            special(tarfile.REGTYPE, mtime=1 << 50),
            special(tarfile.REGTYPE, mtime=0),
            (Field.TIME, "time", "1125899906842624 s", "1970-01-01T00:00:00Z"),
        ),
        (
            special(tarfile.REGTYPE, mtime=7),
            special(tarfile.REGTYPE, mtime=7.25),
            (Field.TIME, "time", "1970-01-01T00:00:07Z", "1970-01-01T00:00:07.25Z"),
        ),
    ],
)
def test_each_property_is_named(
    old: Member | tarfile.TarInfo,
    new: Member | tarfile.TarInfo,
    change: tuple[Field, str, str, str],
) -> None:
    found = list(differences(read_members(stream(old)), read_members(stream(new))))
    assert found[0] == Change("/a", *change)
    assert [each.what for each in found[1:]] in ([], ["mode"], ["extended attribute user.a"])


def test_names_are_compared_as_paths_and_the_last_of_a_name_counts() -> None:
    old = read_members(stream(Member("./a", b"0"), directory("d/"), Member("a", b"1")))
    new = read_members(stream(directory("d"), Member("a", b"1")))
    assert list(differences(old, new)) == []


def test_kept_contents_are_those_of_the_paths_asked_for() -> None:
    found = read_members(
        stream(Member("a", b"1"), Member("b", b"2")), keep=lambda path: path == "/b"
    )
    assert found.kept == {"/b": b"2"}


BIG = bytes(range(256)) * 20_000


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"a\nb\nc", b"a\nB\nc", "from byte 2 on, line 2: 'b' → 'B'"),
        (b"a\n", b"a\nb", "from byte 2 on, line 2: '' → 'b'"),
        (b"a", b"a\nb", "from byte 1 on, line 2: no line → 'b'"),
        (
            b"x" * 50 + b"1" + b"y" * 50,
            b"x" * 50 + b"2",
            f"from byte 50 on, line 1: …'{'x' * 20}1{'y' * 39}'… → …'{'x' * 20}2'",
        ),
        (b"x\0y", b"x\0z", "from byte 2 on"),
        (b"\xff1", b"\xff2", "from byte 1 on"),
        (BIG, BIG[:3_000_001] + b"?" + BIG[3_000_002:], "from byte 3000001 on"),
        (BIG, BIG + b"?", f"from byte {len(BIG)} on"),
    ],
)
def test_the_first_difference_of_two_contents_is_located(
    old: bytes, new: bytes, place: str
) -> None:
    one, other = (stream(Member("first", b"1"), Member("a", content)) for content in (old, new))
    assert content_difference(one, other, "/a") == place


def test_a_content_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LayerError, match="/b: no file of that name in the archive"):
        content_difference(stream(Member("a")), stream(Member("b")), "/b")
    with pytest.raises(LayerError, match="/a: the contents are equal"):
        content_difference(stream(Member("a", BIG)), stream(Member("a", BIG)), "/a")


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(raw(Member("a", BIG)))
    with pytest.raises(LayerError, match="layer: unpacks to more than 1000 bytes"):
        read_members(tar_of(tmp_path / "layer", max_bytes=1000))
