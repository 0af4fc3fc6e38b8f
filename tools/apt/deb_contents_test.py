"""Packages are read as the image will have them: usr-merged, filtered, and nothing unsafe."""

import tarfile
from pathlib import Path

import pytest

from tools.apt.deb_contents import Content, Package, read_package, read_packages
from tools.archive.debs_for_test import TarMember, directory, hardlink, symlink, write_deb
from tools.archive.globs import Exclusions
from tools.cli import ToolError

_NOTHING = Exclusions(())


def _read(path: Path, members: list[TarMember], *globs: str) -> Package:
    return read_package(write_deb(path, "pkg", members), exclusions=Exclusions(globs))


def _refusal(path: Path, *members: TarMember) -> str:
    with pytest.raises(ToolError, match=r"pkg_1\.0_amd64\.deb") as refused:
        _read(path, list(members))
    return str(refused.value)


def test_files_of_merged_directories_move_below_usr(tmp_path: Path) -> None:
    package = _read(
        tmp_path,
        [
            directory("./"),
            directory("./lib/"),
            directory("./lib/x86_64-linux-gnu/"),
            TarMember("./lib/x86_64-linux-gnu/libc.so.6", b"1"),
            symlink("./lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so"),
            TarMember("./bin/sh", b"2", mode=0o755),
            TarMember("./library/x"),
        ],
    )
    assert sorted(package.members) == [
        "library/x",
        "usr/bin/sh",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib64/ld.so",
    ]
    assert package.members["usr/lib64/ld.so"].target == "/lib/x86_64-linux-gnu/ld.so"


@pytest.mark.parametrize(
    ("link", "target", "expected"),
    [
        ("./lib/libz.so.1", "libz.so.1.2", "libz.so.1.2"),
        ("./lib/a/libz.so", "../b/libz.so", "../b/libz.so"),
        ("./lib/libx.so", "../usr/share/libx.so", "../share/libx.so"),
        ("./lib/a/x", "../../usr/lib/y", "../y"),
        ("./lib/a/x", "../../etc/y", "../../../etc/y"),
        ("./sbin/x", "../lib/y", "../lib/y"),
        ("./usr/lib/x", "../../lib/y", "../../lib/y"),
        ("./etc/x", "../run/y", "../run/y"),
    ],
)
def test_a_relative_link_still_leads_where_the_packager_meant(
    tmp_path: Path, link: str, target: str, expected: str
) -> None:
    package = _read(tmp_path, [symlink(link, target)])
    assert [member.target for member in package.members.values()] == [expected]


def test_debian_13s_own_links_of_the_root_are_recognised(tmp_path: Path) -> None:
    assert _read(tmp_path, [symlink("./bin", "usr/bin")]).members == {}
    assert "neither a directory nor a link" in _refusal(tmp_path, symlink("./bin", "/sbin"))
    assert "neither a directory nor a link" in _refusal(tmp_path, TarMember("./lib"))


def test_one_file_at_both_places_of_usr_merge_is_an_error_if_it_differs(tmp_path: Path) -> None:
    same = [TarMember("./bin/x", b"1"), TarMember("./usr/bin/x", b"1")]
    assert list(_read(tmp_path, same).members) == ["usr/bin/x"]
    cause = _refusal(tmp_path, TarMember("./bin/x", b"1"), TarMember("./usr/bin/x", b"2"))
    assert "'usr/bin/x' is there twice, and differs" in cause


@pytest.mark.parametrize(
    ("member", "cause"),
    [
        (TarMember("/etc/passwd"), "absolute path"),
        (TarMember("./../../etc/passwd"), "climbs out"),
        (symlink("./usr/x", "../../../etc"), "climbs out of the root"),
        (symlink("./x", ".."), "climbs out of the root"),
        (symlink("./x", "a\nb"), "unusable target"),
        (hardlink("./x", "../../etc/shadow"), "climbs out"),
        (hardlink("./x", "./absent"), "no file"),
        (TarMember("./dev/null", type=tarfile.CHRTYPE), "character device"),
        (TarMember("./dev/sda", type=tarfile.BLKTYPE), "block device"),
        (TarMember("./pipe", type=tarfile.FIFOTYPE), "special file"),
    ],
)
def test_what_is_unsafe_or_no_file_is_refused(
    tmp_path: Path, member: TarMember, cause: str
) -> None:
    assert cause in _refusal(tmp_path, member)


def test_exclusions_drop_files_and_the_directories_they_leave_empty(tmp_path: Path) -> None:
    members = [
        directory("./usr/share/man/"),
        directory("./usr/share/man/man1/"),
        TarMember("./usr/share/man/man1/x.1.gz"),
        directory("./var/empty/"),
        TarMember("./usr/share/x/data"),
        directory("./usr/share/x/"),
    ]
    package = _read(tmp_path, members, "usr/share/man/**")
    assert sorted(package.members) == ["usr/share/x", "usr/share/x/data", "var/empty"]
    assert "usr/share/man/man1/x.1.gz" in package.dropped


def test_exclusions_never_drop_copyright_nor_the_way_to_it(tmp_path: Path) -> None:
    members = [
        directory("./usr/share/doc/"),
        directory("./usr/share/doc/pkg/", mode=0o700),
        directory("./usr/share/doc/pkg/examples/"),
        TarMember("./usr/share/doc/pkg/copyright", b"free"),
        TarMember("./usr/share/doc/pkg/changelog.gz"),
        symlink("./usr/share/doc/other", "pkg"),
        TarMember("./usr/share/doc/pkg/examples/copyright", b"no licence of ours"),
    ]
    package = _read(tmp_path, members, "usr/share/doc/**")
    assert sorted(package.members) == [
        "usr/share/doc",
        "usr/share/doc/other",
        "usr/share/doc/pkg",
        "usr/share/doc/pkg/copyright",
    ]
    assert package.members["usr/share/doc/pkg"].mode == 0o700


def test_hard_links_survive_the_exclusion_of_the_file_they_name(tmp_path: Path) -> None:
    members = [
        TarMember("./a/original", b"content", mode=0o755),
        hardlink("./b/second", "./a/original"),
        hardlink("./b/third", "./a/original"),
    ]
    package = _read(tmp_path, members, "a/**")
    second, third = package.members["b/second"], package.members["b/third"]
    assert (second.kind, second.data, second.mode) == ("file", b"content", 0o755)
    assert (third.kind, third.target) == ("hardlink", "b/second")


def test_only_what_is_asked_for_is_kept_in_memory(tmp_path: Path) -> None:
    path = write_deb(tmp_path, "pkg", [TarMember("./a", b"1"), TarMember("./b", b"2")])
    wants = {"a": Content.ALL, "b": Content.NOTHING}
    package = read_package(path, exclusions=_NOTHING, wants=lambda name: wants[name])
    assert package.members["a"].data == b"1"
    assert package.members["b"].data is None


def test_packages_come_sorted_whatever_order_and_threads(tmp_path: Path) -> None:
    paths = [
        write_deb(tmp_path, name, [TarMember("./x", name.encode() * size)])
        for name, size in (("b", 1), ("c", 9000), ("a", 300))
    ]
    for jobs, order in ((1, paths), (3, paths[::-1])):
        packages = read_packages(order, exclusions=_NOTHING, jobs=jobs)
        assert [package.name for package in packages] == ["a", "b", "c"]


def test_two_versions_of_a_package_are_an_error_that_names_both(tmp_path: Path) -> None:
    paths = [write_deb(tmp_path, "a", version=version) for version in ("1.0", "2.0")]
    with pytest.raises(ToolError, match=r"a_2\.0_amd64.*a_1\.0_amd64.*keep one of 1\.0 and 2\.0"):
        read_packages(paths, exclusions=_NOTHING)


def test_a_damaged_library_is_named(tmp_path: Path) -> None:
    path = write_deb(tmp_path, "pkg", [TarMember("./usr/lib/libx.so", b"\x7fELF\x02\x01\x01cut")])
    with pytest.raises(ToolError, match=r"usr/lib/libx\.so: damaged ELF"):
        read_package(path, exclusions=_NOTHING, wants=lambda _: Content.SONAME)
