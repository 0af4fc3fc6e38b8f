"""What is extracted from packages, and which members are refused."""

import os
import stat
import tarfile
from pathlib import Path

import pytest

from tools.archive.deb_extract import DebExtractor
from tools.archive.debs_for_test import TarMember, directory, hardlink, symlink, write_deb
from tools.cli import ToolError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def extract(root: Path, *members: TarMember, name: str = "pkg") -> None:
    DebExtractor(root).extract(write_deb(root.parent, name, members))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_modes_are_plain_whatever_the_package_and_the_umask_say(root: Path) -> None:
    old = os.umask(0o077)
    try:
        extract(
            root,
            directory("./usr/share/x/", mode=0o2700),
            TarMember("./usr/bin/su", b"su", mode=0o4755),
            TarMember("./usr/share/x/secret", b"s", mode=0o600),
        )
    finally:
        os.umask(old)
    assert mode(root / "usr/share/x") == 0o755
    assert mode(root / "usr/bin/su") == 0o755
    assert mode(root / "usr/share/x/secret") == 0o644


def test_files_and_links_land_where_place_says(root: Path) -> None:
    def place(name: str) -> str:
        return "" if name.startswith("usr/share/doc/") else name.replace("bin/", "usr/bin/", 1)

    members = [
        TarMember("./bin/sh", b"sh"),
        hardlink("./bin/dash", "./bin/sh"),
        TarMember("./usr/share/doc/x/README", b"r"),
    ]
    DebExtractor(root, place=place).extract(write_deb(root.parent, "pkg", members))
    assert sorted(path.name for path in root.rglob("*")) == ["bin", "dash", "sh", "usr"]
    assert (root / "usr/bin/dash").samefile(root / "usr/bin/sh")


@pytest.mark.parametrize(
    "name", ["../evil", "./usr/../../evil", "/evil", "./usr/share/../../../evil"]
)
def test_a_name_that_leaves_the_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(ToolError, match=r"pkg_1\.0_amd64\.deb"):
        extract(root, TarMember(name, b"evil"))
    assert not list(root.parent.rglob("evil"))


def test_a_link_to_nothing_is_refused(root: Path) -> None:
    with pytest.raises(
        ToolError, match=r"pkg_1\.0_amd64\.deb: symlink 'x' has an unusable target ''"
    ):
        extract(root, symlink("./x", ""))


@pytest.mark.parametrize("target", ["/", "../../..", "../../../outside"])
def test_a_link_cannot_be_used_as_a_directory(root: Path, target: str) -> None:
    (root.parent / "outside").mkdir()
    with pytest.raises(ToolError, match="'usr/share/x' is used as a directory"):
        extract(root, symlink("./usr/share/x", target), TarMember("./usr/share/x/evil", b"evil"))
    assert not list(root.parent.rglob("evil"))


def test_another_packages_link_cannot_be_used_as_a_directory_either(root: Path) -> None:
    extractor = DebExtractor(root)
    extractor.extract(write_deb(root.parent, "one", [symlink("./usr/share/x", "/tmp")]))
    with pytest.raises(ToolError, match="'usr/share/x' is used as a directory"):
        extractor.extract(write_deb(root.parent, "two", [TarMember("./usr/share/x/evil", b"e")]))


def test_a_file_is_not_written_through_a_link(root: Path) -> None:
    victim = root.parent / "victim"
    victim.write_text("intact")
    with pytest.raises(ToolError, match="exists already"):
        extract(
            root, symlink("./usr/share/x", str(victim)), TarMember("./usr/share/x", b"overwritten")
        )
    assert victim.read_text() == "intact"


def test_two_packages_with_one_file_are_refused(root: Path) -> None:
    extract(root, TarMember("./usr/share/x", b"1"), name="one")
    with pytest.raises(ToolError, match=r"two_1\.0_amd64\.deb: '\./usr/share/x' exists already"):
        extract(root, TarMember("./usr/share/x", b"2"), name="two")
    assert (root / "usr/share/x").read_bytes() == b"1"


def test_two_packages_with_one_directory_are_fine(root: Path) -> None:
    for name in ("one", "two"):
        extract(root, directory("./usr/share/x/"), TarMember(f"./usr/share/x/{name}"), name=name)
    assert sorted(path.name for path in (root / "usr/share/x").iterdir()) == ["one", "two"]


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd"])
def test_a_hard_link_to_the_outside_is_refused(root: Path, target: str) -> None:
    with pytest.raises(ToolError, match=r"pkg_1\.0_amd64\.deb"):
        extract(root, hardlink("./usr/share/passwd", target))
    assert not (root / "usr/share/passwd").exists()


def test_a_hard_link_through_a_symbolic_link_is_refused(root: Path) -> None:
    victim = root.parent / "victim"
    victim.write_text("intact")
    with pytest.raises(ToolError, match="hard link to 'usr/share/l'"):
        extract(
            root, symlink("./usr/share/l", str(victim)), hardlink("./usr/share/x", "./usr/share/l")
        )


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(root: Path, kind: bytes) -> None:
    with pytest.raises(ToolError, match=r"'\./usr/share/node' is a device or a pipe"):
        extract(root, TarMember("./usr/share/node", type=kind))


def test_file_that_is_not_a_package_is_named_in_the_error(root: Path) -> None:
    path = root.parent / "x.deb"
    path.write_bytes(b"<html>")
    with pytest.raises(ToolError, match=r"x\.deb: not a Debian package"):
        DebExtractor(root).extract(path)
