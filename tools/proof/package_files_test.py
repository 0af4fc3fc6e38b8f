"""Package sets are judged as images are: usr-merged, without what a lock leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.archive.debs_for_test import TarMember, directory, hardlink, symlink, write_deb
from tools.archive.globs import Exclusions
from tools.cli import ToolError
from tools.elf.elf_for_test import build, linker
from tools.proof.closure import judge, main
from tools.proof.package_files import merge, read_packages

_LIB = "lib/x86_64-linux-gnu"
_LINKER = "/lib64/ld-linux-x86-64.so.2"


def _debs(folder: Path, *, without: str = "") -> list[Path]:
    """Packages of Debian 12, which still name the directories from before usr-merge."""
    contents = {
        "app": [
            TarMember(
                "./usr/bin/app", build(needed=["liba.so.1"], interpreter=_LINKER), mode=0o755
            ),
            hardlink("./usr/bin/second", "./usr/bin/app"),
            TarMember("./usr/lib/app/plugin.so", build(needed=["libgone.so"])),
        ],
        "liba": [
            TarMember(f"./{_LIB}/liba.so.1.2", build("liba.so.1")),
            symlink(f"./{_LIB}/liba.so.1", "liba.so.1.2"),
        ],
        "libc6": [
            directory("./lib64/"),
            TarMember("./lib64/ld-linux-x86-64.so.2", linker(), mode=0o755),
        ],
    }
    return [
        write_deb(folder, name, members) for name, members in contents.items() if name != without
    ]


def test_packages_become_one_root(tmp_path: Path) -> None:
    packages = read_packages(_debs(tmp_path), exclusions=Exclusions(("usr/lib/app/**",)))
    assert packages[0].dropped == {"usr/lib/app/plugin.so"}
    image = merge(packages, architecture="amd64", links={"usr/bin/link": "app"})
    assert image.realpath(f"/{_LIB}/liba.so.1") == f"/usr/{_LIB}/liba.so.1.2"
    assert image.realpath("/usr/bin/link") == image.realpath("/bin/app") == "/usr/bin/app"
    assert image.files["/usr/bin/second"].elf == image.files["/usr/bin/app"].elf
    assert image.mode("/usr/bin/app") == 0o755
    verdict = judge(image)
    assert verdict.findings == []
    assert verdict.counts["objects"] == 4


def test_only_what_the_roots_load_is_judged(tmp_path: Path) -> None:
    image = merge(read_packages(_debs(tmp_path)), architecture="amd64")
    assert [finding.path for finding in judge(image).findings] == ["/usr/lib/app/plugin.so"]
    verdict = judge(image, roots=["/usr/bin/app"])
    assert verdict.findings == []
    assert verdict.counts == {"objects": 2}


def test_a_root_that_is_not_an_object_is_named(tmp_path: Path) -> None:
    image = merge(read_packages(_debs(tmp_path)), architecture="amd64")
    with pytest.raises(ToolError, match="/usr/bin/gone: not an ELF object of the image"):
        judge(image, roots=["/usr/bin/gone"])


def test_packages_without_a_linker_are_an_error(tmp_path: Path) -> None:
    image = merge(read_packages(_debs(tmp_path, without="libc6")), architecture="amd64")
    with pytest.raises(ToolError, match=r"the dynamic linker .* does not exist"):
        judge(image, roots=["/usr/bin/app"])


def test_a_damaged_object_is_named_with_its_package(tmp_path: Path) -> None:
    bad = write_deb(tmp_path, "bad", [TarMember("./usr/bin/bad", build()[:100])])
    with pytest.raises(ToolError, match=rf"{bad}: /usr/bin/bad: damaged ELF object"):
        read_packages([bad])


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ToolError, match=r"architecture 'mips' is not known \(amd64, arm64 are\)"):
        merge([], architecture="mips")


def test_the_command_takes_packages_and_the_lock_of_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debs = [str(deb) for deb in _debs(tmp_path)]
    assert main(["--architecture", "amd64", *debs]) == 1
    assert "/usr/lib/app/plugin.so needs libgone.so" in capsys.readouterr().out
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"mtime": 0, "excluded_paths": [{"glob": "usr/lib/app/**"}]}))
    assert main(["--architecture", "amd64", "--lock", str(lock), *debs]) == 0
    assert "3 packages (amd64): 4 objects, 0 scripts" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["x.deb"], ["--architecture", "amd64"], ["--image=x", "x.deb"]])
def test_an_image_or_packages_are_needed(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(flags)
    assert "give either --image, or --architecture and packages" in capsys.readouterr().err
