"""The rules of ld.so on trees made by hand; real packages are judged in third_party/debian."""

from pathlib import Path

import pytest

from tools.apt.elf_needs import File, Tree, alternatives, main, missing, reach
from tools.elf.elf import Elf, ElfError, Version
from tools.elf.elf_for_test import linker
from tools.elf.linker import LinkerError

_LIB = "usr/lib/x86_64-linux-gnu"
_LINKER = "usr/lib64/ld-linux-x86-64.so.2"


def _object(
    *needed: str,
    runpath: str | None = None,
    versions: tuple[tuple[str, str], ...] = (),
    defines: frozenset[str] = frozenset(),
    machine: str = "EM_X86_64",
    loader: str | None = None,
) -> File:
    elf = Elf(
        machine=machine,
        dynamic=True,
        interpreter=loader,
        needed=needed,
        runpath=runpath,
        versions=tuple(Version(library, name) for library, name in versions),
        defined_versions=defines,
    )
    return File(package="pkg", size=1, elf=elf)


def _link(target: str) -> File:
    return File(package="pkg", size=0, link=target)


def _tree(files: dict[str, File]) -> Tree:
    tree = Tree(arch="amd64")
    itself = Elf("EM_X86_64", dynamic=True, soname="ld-linux-x86-64.so.2")
    tree.add(_LINKER, File(package="libc6", size=1, elf=itself, content=linker()))
    for path, file in files.items():
        tree.add(path, file)
    return tree


def test_a_library_is_found_through_its_links() -> None:
    tree = _tree(
        {
            "usr/bin/app": _object("libz.so.1"),
            f"{_LIB}/libz.so.1": _link("libz.so.1.2"),
            f"{_LIB}/libz.so.1.2": _object(),
        }
    )
    assert missing(tree) == []
    assert reach(tree, ["usr/bin/app"])[f"{_LIB}/libz.so.1.2"] == "/usr/bin/app"


@pytest.mark.parametrize(
    "target",
    ["/usr/lib/deep/libz.so", "../deep/libz.so", "/lib/deep/libz.so", "/usr/./lib/deep/libz.so"],
)
def test_links_lead_through_directories_and_usr_merge(target: str) -> None:
    tree = _tree(
        {
            "usr/bin/app": _object("libz.so"),
            f"{_LIB}/libz.so": _link(target),
            "usr/lib/deep/libz.so": _object(),
        }
    )
    assert missing(tree) == []


def test_a_linked_directory_is_followed() -> None:
    tree = _tree({"usr/lib/real/libz.so": _object(), "usr/lib/alias": _link("real")})
    assert tree.resolve("/lib/alias/libz.so") == "usr/lib/real/libz.so"


def test_a_missing_library_names_package_object_and_name() -> None:
    tree = _tree({"usr/bin/app": _object("libz.so.1")})
    assert missing(tree) == ["pkg: /usr/bin/app needs libz.so.1, which no package here has"]


def test_a_library_named_by_its_path_is_looked_for_there_only_and_has_to_be_an_object() -> None:
    tree = _tree({"usr/bin/app": _object("/opt/libz.so"), "usr/lib/opt/libz.so": _object()})
    unmet = ["pkg: /usr/bin/app needs /opt/libz.so, which no package here has"]
    assert missing(tree) == unmet
    tree.add("opt/libz.so", File(package="pkg", size=1))
    assert missing(tree) == [
        "pkg: /usr/bin/app needs /opt/libz.so, which is not an ELF object at /opt/libz.so"
    ]
    tree.add("opt/libz.so", _object())
    assert missing(tree) == []


@pytest.mark.parametrize("target", ["libgone.so", "libz.so.1"])
def test_a_link_to_nowhere_or_to_itself_is_no_library(target: str) -> None:
    tree = _tree({"usr/bin/app": _object("libz.so.1"), f"{_LIB}/libz.so.1": _link(target)})
    assert len(missing(tree)) == 1


def test_a_private_directory_counts_only_for_the_object_that_names_it() -> None:
    private = {
        f"{_LIB}/libpulse.so": _object("libcommon.so", runpath=f"/{_LIB}/pulse"),
        f"{_LIB}/pulse/libcommon.so": _object(),
    }
    assert missing(_tree(private)) == []
    stranger = {"usr/bin/app": _object("libcommon.so")}
    assert missing(_tree(private | stranger)) == [
        "pkg: /usr/bin/app needs libcommon.so, which no package here has"
    ]


@pytest.mark.parametrize("search", ["$ORIGIN/../private", "${ORIGIN}/../private"])
def test_origin_is_the_directory_of_the_object(search: str) -> None:
    tree = _tree(
        {"opt/bin/app": _object("libx.so", runpath=search), "opt/private/libx.so": _object()}
    )
    assert missing(tree) == []


def test_a_library_of_another_machine_is_passed_over() -> None:
    tree = _tree(
        {"usr/bin/app": _object("libz.so"), f"{_LIB}/libz.so": _object(machine="EM_AARCH64")}
    )
    assert len(missing(tree)) == 1


def test_an_object_of_another_machine_is_not_judged() -> None:
    assert missing(_tree({"usr/share/x": _object("libz.so", machine="EM_386")})) == []


def test_a_version_that_the_library_does_not_define_is_named() -> None:
    wants = (("libc.so.6", "GLIBC_2.36"),)
    app = {"usr/bin/app": _object("libc.so.6", versions=wants)}
    old = {f"{_LIB}/libc.so.6": _object(defines=frozenset({"GLIBC_2.35"}))}
    new = {f"{_LIB}/libc.so.6": _object(defines=frozenset({"GLIBC_2.35", "GLIBC_2.36"}))}
    assert missing(_tree(app | new)) == []
    assert missing(_tree(app | old)) == [
        (
            "pkg: /usr/bin/app needs version GLIBC_2.36; /lib/x86_64-linux-gnu/libc.so.6, which "
            "is loaded for libc.so.6, does not define it"
        )
    ]


def test_a_program_needs_its_loader() -> None:
    app = {"usr/bin/app": _object(loader="/lib64/ld.so")}
    assert missing(_tree(app)) == ["pkg: /usr/bin/app needs the loader /lib64/ld.so, not there"]
    assert missing(_tree(app | {"usr/lib64/ld.so": _object()})) == []


def test_a_script_needs_its_interpreter_where_programs_are() -> None:
    script = File(package="pkg", size=1, interpreter="/usr/bin/perl")
    assert missing(_tree({"usr/bin/tool": script})) == [
        "pkg: /usr/bin/tool is a script for /usr/bin/perl, not there"
    ]
    assert missing(_tree({"usr/bin/tool": script, "usr/bin/perl": _object()})) == []
    assert missing(_tree({"usr/lib/python3.11/cgi.py": script})) == []


def test_blas_and_lapack_get_the_links_that_a_maintainer_script_would_make() -> None:
    tree = _tree({f"{_LIB}/blas/libblas.so.3.11": _object()})
    tree.add(f"{_LIB}/blas/libblas.so.3", _link("libblas.so.3.11"))
    assert alternatives(tree) == {f"{_LIB}/libblas.so.3": "blas/libblas.so.3"}
    assert alternatives(_tree({})) == {}


def test_what_programs_reach_stops_at_what_nothing_loads() -> None:
    tree = _tree(
        {
            "usr/bin/app": _object("liba.so"),
            f"{_LIB}/liba.so": _object("libb.so", "libgone.so"),
            f"{_LIB}/libb.so": _object("liba.so"),
            f"{_LIB}/libc.so": _object(),
        }
    )
    assert reach(tree, ["usr/bin/app"]) == {
        "usr/bin/app": "a root",
        f"{_LIB}/liba.so": "/usr/bin/app",
        f"{_LIB}/libb.so": f"/{_LIB}/liba.so",
    }


def test_a_root_that_is_not_there_is_named() -> None:
    with pytest.raises(ElfError, match="usr/bin/app: no ELF object of the packages given"):
        reach(_tree({}), ["usr/bin/app"])


def test_a_set_without_a_linker_is_told_so() -> None:
    tree = _tree({"usr/bin/app": _object("libz.so.1")})
    del tree.files[_LINKER]
    with pytest.raises(LinkerError, match=r"the dynamic linker .* does not exist"):
        missing(tree)


def test_a_lock_that_is_not_there_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--lock", f"{tmp_path}/none", "--arch", "amd64", "--debs", "x.deb"]) == 1
    assert f"elf_needs: {tmp_path}/none: " in capsys.readouterr().err
