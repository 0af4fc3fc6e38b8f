"""Taking one emulator out of a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.archive.debs_for_test import TarMember, directory, write_deb
from tools.container.qemu_user import main


def run(tmp_path: Path, *members: TarMember) -> tuple[int, Path]:
    deb = write_deb(tmp_path, "qemu", members)
    out = tmp_path / "qemu"
    return main(["--architecture", "arm64", "--deb", str(deb), "--out", str(out)]), out


def test_the_emulator_of_the_architecture_is_written_and_can_be_executed(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        directory("./usr/bin"),
        TarMember("./usr/bin/qemu-arm-static", b"arm"),
        TarMember("./usr/bin/qemu-aarch64-static", b"aarch64"),
    )
    assert (code, out.read_bytes()) == (0, b"aarch64")
    assert out.stat().st_mode & 0o777 == 0o755


def test_debian_13_names_the_static_program_plainly(tmp_path: Path) -> None:
    code, out = run(tmp_path, TarMember("./usr/bin/qemu-aarch64", b"aarch64"))
    assert (code, out.read_bytes()) == (0, b"aarch64")


def test_a_package_without_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(tmp_path, TarMember("./usr/bin/qemu-arm-static", b"arm"))
    assert code == 1
    assert not out.exists()
    assert capsys.readouterr().err == (
        f"qemu_user: {tmp_path}/qemu_1.0_amd64.deb: has no file usr/bin/qemu-aarch64-static; "
        "expected Debian's qemu-user-static, or qemu-user of Debian 13\n"
    )
