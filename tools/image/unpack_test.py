"""Merging layers into a tree and a directory, and refusing to be led out of it."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest

from tools.archive.tar_stream import LayerError
from tools.image.images_for_test import (
    Member,
    TestLayer,
    directory,
    hard_link,
    link,
    tar_bytes,
    write_layer,
)
from tools.image.tree import Entry, Tree, TreeError
from tools.image.unpack import Limits, read_files, scan, unpack


def layers_of(folder: Path, *layers: list[Member]) -> list[TestLayer]:
    folder.mkdir(exist_ok=True)
    return [write_layer(folder, tar_bytes(members)) for members in layers]


def unpacked(tmp_path: Path, *layers: list[Member]) -> tuple[Tree, Path]:
    root = tmp_path / "root"
    root.mkdir()
    return unpack(layers_of(tmp_path / "blobs", *layers), root), root


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_modes_and_owners_are_those_of_the_headers_whoever_unpacks(tmp_path: Path) -> None:
    tree, root = unpacked(
        tmp_path,
        [
            directory("app", 0o550, 1000, 1001),
            Member("app/su", b"x", mode=0o4755, uid=3, gid=4),
            Member("dev/null", mode=0o666, kind=tarfile.CHRTYPE),
        ],
    )
    entry = tree.lookup("/app/su")
    assert entry is not None
    assert (entry.mode, entry.uid, entry.gid, entry.size) == (0o4755, 3, 4, 1)
    device = tree.lookup("/dev/null")
    assert device is not None
    assert device.kind == "char"
    assert not (root / "dev/null").exists()
    found = stat.S_IMODE((root / "app/su").stat().st_mode)
    assert found == 0o755, "a set-id file of the caller's on the host would be a hole"


def test_parents_nobody_mentions_are_implied(tmp_path: Path) -> None:
    tree, root = unpacked(tmp_path, [Member("a/b/c", b"1")])
    entry = tree.lookup("/a/b")
    assert entry is not None
    assert (entry.kind, entry.mode, entry.uid, entry.implied) == ("dir", 0o755, 0, True)
    assert (root / "a/b/c").read_bytes() == b"1"


def test_a_whiteout_removes_what_lower_layers_have_whatever_the_order(tmp_path: Path) -> None:
    tree, root = unpacked(
        tmp_path,
        [Member("a/old", b"1"), Member("a/keep", b"1"), directory("b"), Member("b/old")],
        [Member("a/.wh.old"), Member("b/new", b"2"), Member(".wh.b"), Member(".wh.nothing")],
    )
    assert listing(root) == ["a", "a/keep", "b", "b/new"]
    assert [path for path, _ in tree.entries()] == ["/", "/a", "/a/keep", "/b", "/b/new"]


def test_an_opaque_directory_hides_lower_layers_but_not_its_own(tmp_path: Path) -> None:
    tree, root = unpacked(
        tmp_path,
        [Member("d/old"), Member("d/sub/old"), Member("d/both", b"1")],
        [Member("d/both", b"2"), Member("d/.wh..wh..opq"), Member("d/sub/new")],
    )
    assert listing(root) == ["d", "d/both", "d/sub", "d/sub/new"]
    assert (root / "d/both").read_bytes() == b"2"
    assert tree.lookup("/d/sub/old") is None


def test_later_layers_replace_types(tmp_path: Path) -> None:
    tree, root = unpacked(
        tmp_path,
        [Member("a/x"), Member("b"), link("c", "a"), Member("d", b"lower")],
        [Member("a", b"file"), directory("b"), directory("c"), Member("d", b"upper", mode=0o600)],
    )
    assert (root / "a").read_bytes() == b"file"
    assert (root / "b").is_dir()
    assert not (root / "c").is_symlink()
    assert (root / "d").read_bytes() == b"upper"
    assert tree.lookup("/a/x") is None


def test_a_changed_file_leaves_its_other_hard_link_alone(tmp_path: Path) -> None:
    tree, root = unpacked(
        tmp_path, [Member("a", b"1"), hard_link("b", "a")], [Member("a", b"2", mode=0o600)]
    )
    assert (root / "b").read_bytes() == b"1"
    entry = tree.lookup("/b")
    assert entry is not None
    assert entry.mode == 0o644


def test_a_member_below_a_link_lands_where_the_link_points_inside_the_image(
    tmp_path: Path,
) -> None:
    _, root = unpacked(
        tmp_path,
        [directory("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/lib")],
        [Member("lib/one", b"1"), Member("abs/two", b"2")],
    )
    assert listing(root) == ["abs", "lib", "usr", "usr/lib", "usr/lib/one", "usr/lib/two"]


HOSTILE = {
    "absolute": ([Member("/etc/evil")], "the name '/etc/evil' is absolute"),
    "dots": ([Member("a/../../evil")], "climbs out with '..'"),
    "loop": ([link("a", "b"), link("b", "a"), Member("a/evil")], "a loop of links"),
    "hard link out": ([hard_link("x", "../outside")], "climbs out with '..'"),
    "hard link absolute": ([hard_link("x", "/etc/passwd")], "is absolute"),
    "hard link to nothing": ([hard_link("x", "outside")], "which does not exist in the image"),
    "hard link to a directory": ([directory("d"), hard_link("x", "d")], "which is a directory"),
    "file as directory": ([Member("f"), Member("f/x")], "lies under 'f', which is a file"),
    "root is a link": ([link("./", "/etc")], "the root is a symlink"),
    "whiteout of the parent": ([Member("a/.wh...")], "names no file"),
    "deep": ([Member("a/" * 2047 + "b")], "more than 2047 directories deep"),
    "deep behind a link": (
        [link("l", "b/" * 50), Member("l/" + "a/" * 2000 + "b")],
        "is too deep once its links are followed",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused_and_touch_nothing_outside(tmp_path: Path, case: str) -> None:
    members, cause = HOSTILE[case]
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(LayerError) as caught:
        unpacked(tmp_path, members)
    assert cause in str(caught.value)
    assert str(caught.value).endswith("refused")
    assert sorted(set(os.listdir(tmp_path)) - {"root", "blobs"}) == before
    assert outside.read_text() == "untouched"


def test_an_absolute_link_is_data_and_is_never_followed_on_the_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    tree, root = unpacked(tmp_path, [link("door", str(secret)), Member("door/x", b"1")])
    assert os.listdir(secret) == []
    assert os.readlink(root / "door") == str(secret)
    assert (root / str(secret)[1:] / "x").read_bytes() == b"1"
    assert tree.realpath("/door/x") == f"{secret}/x"


def test_above_the_root_is_the_root_as_in_a_container(tmp_path: Path) -> None:
    _, root = unpacked(
        tmp_path,
        [directory("usr/lib"), link("lib", "../usr/lib"), link("lib2", "../../usr/lib")],
        [Member("lib/n", b"1"), Member("lib2/m", b"2"), hard_link("h", "lib2/m")],
        [link("out", "../../.."), Member("out/outside", b"3")],
    )
    assert sorted(os.listdir(tmp_path)) == ["blobs", "root"]
    expected = ["h", "lib", "lib2", "out", "outside", "usr", "usr/lib", "usr/lib/m", "usr/lib/n"]
    assert listing(root) == expected


def test_a_tree_may_be_as_deep_as_a_path_can_be_long(tmp_path: Path) -> None:
    depth = 1700  # a path on the host has the directory's own names too
    layers = layers_of(
        tmp_path / "blobs",
        [Member("a/" * depth + "f", b"1")],
        [Member("a/" * depth + "g"), Member("a/" * depth + ".wh.f")],
        [Member("a/.wh..wh..opq"), Member("a/b", b"2")],
    )
    root = tmp_path / "root"
    root.mkdir()
    tree = unpack(layers[:2], root)
    assert [path for path, entry in tree.entries() if entry.kind == "file"] == [
        "/" + "a/" * depth + "g"
    ]
    tree = unpack(layers, root, tree=tree, first=2)
    assert [path for path, _ in tree.entries()] == ["/", "/a", "/a/b"]
    assert listing(root) == ["a", "a/b"]


def test_a_hard_link_to_a_device_is_a_device_in_the_tree_only(tmp_path: Path) -> None:
    device = Member("c", mode=0o666, kind=tarfile.CHRTYPE)
    tree, root = unpacked(tmp_path, [device, hard_link("d", "c")], [Member("c", b"1")])
    entry = tree.lookup("/d")
    assert entry is not None
    assert (entry.kind, entry.hardlink) == ("char", "/c")
    assert listing(root) == ["c"]


def test_bookkeeping_of_aufs_is_left_out_and_may_be_linked_to(tmp_path: Path) -> None:
    tree, root = unpacked(
        tmp_path,
        [
            directory(".wh..wh.plnk"),
            Member(".wh..wh.plnk/12.3", b"zz"),
            Member(".wh..wh.aufs"),
            hard_link("a", ".wh..wh.plnk/12.3"),
            hard_link("b", ".wh..wh.plnk/12.3"),
            directory("s"),
            Member("s/.wh..wh.aufs"),
        ],
    )
    assert listing(root) == ["a", "b", "s"]
    assert (root / "a").read_bytes() == b"zz"
    assert [path for path, _ in tree.entries()] == ["/", "/a", "/b", "/s"]
    layers = layers_of(tmp_path / "more", [Member(".wh..wh.plnk/1", b"zz"), Member("x")])
    assert dict(read_files(layers, lambda _: True)[1]) == {"/x": b""}


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    one, two = ([Member(f"{name}{number}") for number in range(5)] for name in "ab")
    fits = layers_of(tmp_path / "fits", one, two)
    assert len(list(scan(fits, limits=Limits(entries=10)).entries())) == 11  # and the root
    more = layers_of(tmp_path / "more", one, two, [Member("c")])
    with pytest.raises(LayerError, match="the image has more than 10 members"):
        scan(more, limits=Limits(entries=10))


def test_an_image_larger_than_the_limit_is_refused_though_no_layer_is(tmp_path: Path) -> None:
    layers = layers_of(tmp_path / "blobs", *([Member(name, bytes(40_000))] for name in "abc"))
    scan(layers, limits=Limits(bytes=120_000))
    with pytest.raises(LayerError, match="the image unpacks to more than 119999 bytes"):
        scan(layers, limits=Limits(bytes=119_999))


def test_scanning_gives_the_same_tree_as_unpacking(tmp_path: Path) -> None:
    layers = [[directory("d"), Member("d/a", b"1"), hard_link("d/b", "d/a")], [Member("d/.wh.a")]]
    tree, _ = unpacked(tmp_path, *layers)
    assert list(scan(layers_of(tmp_path / "more", *layers)).entries()) == list(tree.entries())


def test_a_tree_survives_json(tmp_path: Path) -> None:
    tree, _ = unpacked(tmp_path, [Member("a\udcff", b"1", uid=5), link("l", "a"), directory("d")])
    assert list(Tree.from_json(tree.to_json()).entries()) == list(tree.entries())


def test_wanted_files_are_kept_as_the_last_layer_has_them(tmp_path: Path) -> None:
    layers = layers_of(
        tmp_path / "blobs",
        [Member("a", b"1"), Member("b", b"2"), Member("c", b"3"), hard_link("d", "c")],
        [Member("a", b"4"), Member(".wh.b")],
    )
    _, contents = read_files(layers, lambda path: path != "/none")
    assert contents == {"/a": b"4", "/c": b"3", "/d": b"3"}


def test_paths_resolve_as_in_a_chroot() -> None:
    tree = Tree()
    tree.put(("usr", "bin", "sh"), Entry("file", 0o755))
    tree.put(("bin",), Entry("symlink", 0o777, linkname="usr/bin"))
    tree.put(("up",), Entry("symlink", 0o777, linkname="../../usr"))
    tree.put(("self",), Entry("symlink", 0o777, linkname="self"))
    assert tree.realpath("/bin/sh") == "/usr/bin/sh"
    assert tree.realpath("/up/bin/../bin/sh") == "/usr/bin/sh"
    assert tree.realpath("/bin/not/there") == "/usr/bin/not/there"
    entry = tree.lookup("/bin")
    assert entry is not None
    assert entry.kind == "symlink"
    with pytest.raises(TreeError, match="too many levels of symbolic links"):
        tree.realpath("/self")
    with pytest.raises(TreeError, match="is not a directory"):
        tree.realpath("/bin/sh/x")
