"""The linker's cache has the entries, the order and the format of ldconfig's."""

import functools
import struct
from pathlib import Path

import pytest

from tools.apt import ld_cache
from tools.apt.deb_contents import Content, Member, read_package
from tools.apt.ld_cache import Library
from tools.archive.debs_for_test import TarMember, hardlink, symlink, write_deb
from tools.archive.globs import Exclusions
from tools.cli import ToolError
from tools.elf.elf_for_test import build
from tools.elf.ld_so_cache import compare_names

_DIRECTORIES = ("/usr/local/lib", "/lib/x86_64-linux-gnu", "/lib", "/usr/lib")


def _members(path: Path, files: list[TarMember]) -> dict[str, Member]:
    deb = write_deb(path, "pkg", files)
    wants = Content.SONAME
    return read_package(deb, exclusions=Exclusions(()), wants=lambda _: wants).members


def _found(path: Path, files: list[TarMember]) -> list[tuple[str, str]]:
    libraries = ld_cache.find_libraries(
        _members(path, files), directories=_DIRECTORIES, architecture="amd64"
    )
    return [(library.soname, library.path) for library in libraries]


def test_names_are_ordered_as_the_loader_searches_them() -> None:
    # A part of what `ldconfig -p` prints of a real cache, from high to low.
    expected = [
        "libz3.so.4",
        "libzvbi.so.0",
        "libzstd.so.1",
        "libz.so.1",
        "libx265.so.199",
        "libx264.so.164",
        "libxcb.so.1",
        "libxcb-xfixes.so.0",
        "libgcc_s.so.1",
        "libdrm_radeon.so.1",
        "libdrm.so.2",
        "libc.so.6",
        "libavc1394.so.0",
        "libavcodec.so.59",
        "libasound.so.2",
        "libBrokenLocale.so.1",
        "ld-linux-x86-64.so.2",
    ]
    key = functools.cmp_to_key(compare_names)
    assert sorted(sorted(expected), key=key, reverse=True) == expected


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [("a", "a", 0), ("a9", "a10", -1), ("a", "ab", -1), ("a1", "ab", 1), ("a01", "a1", 0)],
)
def test_runs_of_digits_compare_by_value(one: str, other: str, sign: int) -> None:
    result = compare_names(one, other)
    assert (result > 0) - (result < 0) == sign
    reverse = compare_names(other, one)
    assert (reverse > 0) - (reverse < 0) == -sign


def test_libraries_are_listed_by_soname_under_the_directory_first_configured(
    tmp_path: Path,
) -> None:
    base = "./usr/lib/x86_64-linux-gnu"
    files = [
        TarMember(f"{base}/libz.so.1.2.13", build("libz.so.1")),
        symlink(f"{base}/libz.so.1", "libz.so.1.2.13"),
        symlink(f"{base}/libz.so", "libz.so.1.2.13"),
        TarMember("./lib/x86_64-linux-gnu/libplain.so", build()),
        TarMember(f"{base}/libarm.so.1", build("libarm.so.1", machine="EM_AARCH64")),
        TarMember(f"{base}/libscript.so", b"GROUP ( libz.so.1 )"),
        TarMember(f"{base}/pulseaudio/libdeep.so", build("libdeep.so")),
        TarMember(f"{base}/readme.so.txt", build("readme.so.txt")),
    ]
    assert _found(tmp_path, files) == [
        ("libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1"),
        ("libplain.so", "/lib/x86_64-linux-gnu/libplain.so"),
    ]


def test_a_link_of_another_name_is_known_by_it_as_well(tmp_path: Path) -> None:
    files = [
        TarMember("./usr/lib/libjpeg.so.62", build("libjpeg.so.62")),
        symlink("./usr/lib/libturbo.so.1", "libjpeg.so.62"),
        hardlink("./usr/lib/libhard.so.1", "./usr/lib/libjpeg.so.62"),
        symlink("./usr/lib/libgone.so.1", "nowhere"),
        symlink("./usr/lib/libloop.so.1", "libloop.so.1"),
    ]
    assert _found(tmp_path, files) == [
        ("libturbo.so.1", "/lib/libturbo.so.1"),
        ("libjpeg.so.62", "/lib/libjpeg.so.62"),
    ]


def test_an_alternative_is_followed_through_absolute_links(tmp_path: Path) -> None:
    files = [
        TarMember("./usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11", build("libblas.so.3")),
        symlink("./usr/lib/x86_64-linux-gnu/blas/libblas.so.3", "libblas.so.3.11"),
        symlink("./usr/lib/x86_64-linux-gnu/libblas.so.3", "/etc/alternatives/libblas"),
        symlink("./etc/alternatives/libblas", "/lib/x86_64-linux-gnu/blas/libblas.so.3"),
    ]
    assert _found(tmp_path, files) == [("libblas.so.3", "/lib/x86_64-linux-gnu/libblas.so.3")]


def test_the_same_name_in_two_directories_keeps_their_order(tmp_path: Path) -> None:
    files = [
        TarMember(f"./{directory}/libx.so.1", build("libx.so.1"))
        for directory in ("usr/lib", "usr/local/lib", "usr/lib/x86_64-linux-gnu")
    ]
    assert [path for _, path in _found(tmp_path, files)] == [
        "/usr/local/lib/libx.so.1",
        "/lib/x86_64-linux-gnu/libx.so.1",
        "/lib/libx.so.1",
    ]


def test_a_link_that_no_package_ships_is_made_to_the_newest_file(tmp_path: Path) -> None:
    files = [TarMember(f"./usr/lib/libx.so.1.{minor}", build("libx.so.1")) for minor in (9, 10)]
    members = _members(tmp_path, files)
    libraries = [Library("libx.so.1", "/lib/libx.so.1")]
    assert ld_cache.missing_links(libraries, members) == {"usr/lib/libx.so.1": "libx.so.1.10"}


def test_hwcaps_directories_are_refused_rather_than_left_out(tmp_path: Path) -> None:
    path = "./usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libx.so.1"
    with pytest.raises(ToolError, match="glibc-hwcaps is not supported"):
        _found(tmp_path, [TarMember(path, build("libx.so.1"))])


def test_directories_come_from_the_configuration_in_its_order() -> None:
    configuration = {
        "etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n\n",
        "etc/ld.so.conf.d/x86_64-linux-gnu.conf": b"# Multiarch\n/lib/x86_64-linux-gnu\n/lib\n",
        "etc/ld.so.conf.d/libc.conf": b"/usr/local/lib/\n",
        "etc/ld.so.conf.d/other.txt": b"/never\n",
    }
    assert ld_cache.configured_directories(configuration) == [
        "/usr/local/lib",
        "/lib/x86_64-linux-gnu",
        "/lib",
        "/usr/lib",
    ]


def test_an_unknown_directive_is_an_error() -> None:
    with pytest.raises(ToolError, match="'hwcap 0 nosegneg' is neither"):
        ld_cache.configured_directories({"etc/ld.so.conf": b"hwcap 0 nosegneg\n"})


def test_the_file_is_laid_out_as_the_loader_reads_it() -> None:
    libraries = [Library("libz.so.1", "/lib/libz.so.1"), Library("libc.so.6", "/lib/libc.so.6")]
    content = ld_cache.cache_bytes(libraries, architecture="arm64")
    assert content[:20] == b"glibc-ld.so.cache1.1"
    count, length, flags = struct.unpack_from("<IIB", content, 20)
    assert (count, length, flags) == (2, len(content) - 48 - 2 * 24, 2)
    texts = []
    for number in range(count):
        kind, name, path, _, hwcap = struct.unpack_from("<iIIIQ", content, 48 + 24 * number)
        assert (kind, hwcap) == (0x0A03, 0)
        texts += [content[at : content.index(b"\0", at)].decode() for at in (name, path)]
    assert texts == ["libz.so.1", "/lib/libz.so.1", "libc.so.6", "/lib/libc.so.6"]


def test_only_dynamic_objects_of_the_architecture_are_listed(tmp_path: Path) -> None:
    files = [
        TarMember("./usr/lib/libx.so.1", build("libx.so.1")),
        TarMember("./usr/lib/libscript.so", b"INPUT(libx.so.1)"),
        TarMember("./usr/lib/lib32.so", b"\x7fELF\x01\x01\x01" + bytes(100)),
        TarMember("./usr/lib/libarm.so.1", build("libarm.so.1", machine="EM_AARCH64")),
    ]
    assert _found(tmp_path, files) == [("libx.so.1", "/lib/libx.so.1")]


def test_a_damaged_object_is_an_error(tmp_path: Path) -> None:
    whole = build("libx.so.1")
    with pytest.raises(ToolError, match=r"pkg.*: usr/lib/libx\.so\.1: damaged ELF object"):
        _members(tmp_path, [TarMember("./usr/lib/libx.so.1", whole[:100])])
