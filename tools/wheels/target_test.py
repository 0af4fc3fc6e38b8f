"""Which wheels fit the machines that locks are made for, and what markers say there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

from tools.cli import ToolError
from tools.wheels.target import Target, target_from_debian_lock, targets_from_debian_lock

if TYPE_CHECKING:
    from pathlib import Path

_AMD64 = Target(arch="amd64", python="3.11.2", glibc_minor=36)
_ARM64 = Target(arch="arm64", python="3.11.2", glibc_minor=36)


@pytest.mark.parametrize(
    ("filename", "fits_amd64", "fits_arm64"),
    [
        ("a-1-py3-none-any.whl", True, True),
        ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", True, False),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", False, True),
        ("a-1-cp37-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", True, False),
        ("a-1-cp311-cp311-manylinux1_x86_64.whl", True, False),
        ("a-1-cp311-cp311-manylinux_2_36_aarch64.whl", False, True),
        ("a-1-cp311-cp311-manylinux_2_37_x86_64.whl", False, False),
        ("a-1-cp311-cp311-musllinux_1_2_x86_64.whl", False, False),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", False, False),
        ("a-1-cp312-abi3-manylinux_2_17_x86_64.whl", False, False),
        ("a-1-cp311-cp311-macosx_11_0_arm64.whl", False, False),
    ],
)
def test_a_wheel_fits_by_interpreter_and_c_library(
    filename: str, *, fits_amd64: bool, fits_arm64: bool
) -> None:
    tags = parse_wheel_filename(filename)[3]
    assert (bool(tags & _AMD64.tags), bool(tags & _ARM64.tags)) == (fits_amd64, fits_arm64)


def test_newer_platform_tags_come_first_so_that_pip_prefers_them() -> None:
    assert _ARM64.platforms[0] == "manylinux_2_36_aarch64"
    assert _ARM64.platforms[-2:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64")
    assert _AMD64.platforms[-1] == "manylinux1_x86_64"


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("platform_machine == 'aarch64'", True),
        ("platform_machine == 'x86_64'", False),
        ("python_full_version < '3.11.3'", True),
        ("python_version >= '3.11'", True),
        ("sys_platform == 'win32'", False),
        ("implementation_name == 'cpython' and os_name == 'posix'", True),
    ],
)
def test_markers_are_answered_for_the_target(marker: str, *, expected: bool) -> None:
    assert Marker(marker).evaluate(_ARM64.marker_environment) is expected


def _debian_lock(directory: Path, packages: list[tuple[str, str]]) -> Path:
    path = directory / "lock.json"
    entries = [{"name": name, "arch": "arm64", "version": version} for name, version in packages]
    path.write_text(json.dumps({"packages": entries}), encoding="utf-8")
    return path


def test_versions_of_python_and_glibc_come_from_the_debian_lock(tmp_path: Path) -> None:
    lock = _debian_lock(
        tmp_path, [("python3.11", "3.11.2-6+deb12u6"), ("libc6", "2.36-9+deb12u10")]
    )
    assert target_from_debian_lock(lock, arch="arm64") == _ARM64


def test_an_epoch_is_not_part_of_the_version(tmp_path: Path) -> None:
    lock = _debian_lock(tmp_path, [("python3.12", "1:3.12.1-1"), ("libc6", "2.41-1")])
    assert target_from_debian_lock(lock, arch="arm64") == Target(
        arch="arm64", python="3.12.1", glibc_minor=41
    )


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        (
            [("libc6", "2.36-9")],
            r"wanted one package 'python3\\.\\d+' for arm64, found versions []",
        ),
        ([("python3.11", "3.11.2-6"), ("libc6", "two")], "a version cannot be read"),
    ],
)
def test_a_debian_lock_without_them_is_an_error(
    tmp_path: Path, packages: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(ToolError) as caught:
        target_from_debian_lock(_debian_lock(tmp_path, packages), arch="arm64")
    assert message in str(caught.value)


def test_a_target_is_made_for_each_architecture_of_the_lock(tmp_path: Path) -> None:
    lock = _debian_lock(tmp_path, [("python3.11", "3.11.2-6"), ("libc6", "2.36-9")])
    assert targets_from_debian_lock(lock) == (_ARM64,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a lock of Debian packages"),
        ('{"packages": [{"name": "x"}]}', "not a lock of Debian packages"),
        (
            '{"packages": [{"name": null, "arch": "amd64", "version": "1"}]}',
            "not a lock of Debian packages",
        ),
        ('{"packages": []}', "has packages for no architecture"),
        ('{"packages": [{"name": "x", "arch": "mips", "version": "1"}]}', "has packages for mips"),
    ],
)
def test_a_lock_that_gives_no_target_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ToolError) as caught:
        targets_from_debian_lock(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
