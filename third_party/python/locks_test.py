"""The committed locks: they follow from the .in files and agree with the wheels they pin."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from installer.sources import WheelFile
from installer.utils import parse_metadata_file
from packaging.markers import Marker
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from tools.archive.bytecode import pyc_path
from tools.elf.strip import strip_object
from tools.elf.strip_for_test import mapped
from tools.wheels.closure import Distribution, applies, find_closure
from tools.wheels.exclusions import read_exclusions, unused_globs, without_excluded
from tools.wheels.lock import lock_path
from tools.wheels.lockfile import LockedWheel, parse_lock
from tools.wheels.resolve import read_requirements
from tools.wheels.target import target_from_debian_lock, targets_from_debian_lock
from tools.wheels.wheel_tree import WheelTree, merge, read_wheel

_HERE = Path("third_party/python")
_DEBIAN_LOCK = Path(os.environ["DEBIAN_LOCK"])
# Where the locks of the suite are.
_DIRECTORY = Path(os.environ["LOCK"]).parent
_ARCHITECTURES = tuple(target.arch for target in targets_from_debian_lock(_DEBIAN_LOCK))
_INPUTS = ("requirements", "requirements_dev")
# Programs that tests start: each lock stands alone, and none is for arm64.
_PROGRAMS = (
    "requirements_conformance",
    "requirements_checkov",
    "requirements_buildgrid",
    "requirements_dvr_scan",
)
_LOCKS = [(name, arch) for name in _INPUTS for arch in _ARCHITECTURES]
_LOCKS += [(name, "amd64") for name in _PROGRAMS]


def _lock(name: str, arch: str) -> dict[str, LockedWheel]:
    path = lock_path(_HERE / f"{name}.in", arch=arch, directory=_DIRECTORY)
    return {
        wheel.name: wheel
        for wheel in parse_lock(path.read_text(encoding="utf-8"), source=str(path))
    }


def _wheels(arch: str) -> list[Path]:
    """Return the image's wheels, which Bazel puts beside the workspace in the runfiles."""
    wheels = sorted(Path("..").glob(f"pypi_{arch}_*/*.whl"))
    assert {wheel.name for wheel in wheels} == {
        wheel.filename for wheel in _lock(_INPUTS[0], arch).values()
    }
    return wheels


def _distribution(wheel: Path) -> Distribution:
    with WheelFile.open(wheel) as source:
        metadata = parse_metadata_file(source.read_dist_info("METADATA"))
    return Distribution(
        name=canonicalize_name(str(metadata["Name"])),
        version=str(metadata["Version"]),
        requires_dist=tuple(str(line) for line in metadata.get_all("Requires-Dist", [])),
        provides_extra=frozenset(
            canonicalize_name(str(extra)) for extra in metadata.get_all("Provides-Extra", [])
        ),
    )


@pytest.mark.parametrize(("name", "arch"), _LOCKS)
def test_every_line_of_the_inputs_is_met(name: str, arch: str) -> None:
    lock = _lock(name, arch)
    environment = target_from_debian_lock(_DEBIAN_LOCK, arch=arch).marker_environment
    for root in read_requirements(_HERE / f"{name}.in"):
        if applies(root.requirement, environment=environment):
            wheel = lock[canonicalize_name(root.requirement.name)]
            assert root.requirement.specifier.contains(Version(wheel.version)), root.requirement
            assert root.requirement.extras <= set(wheel.extras)


@pytest.mark.parametrize("arch", _ARCHITECTURES)
def test_tools_and_tests_use_exactly_the_wheels_of_the_image(arch: str) -> None:
    runtime, everything = (_lock(name, arch) for name in _INPUTS)
    assert {name: everything[name].sha256 for name in runtime} == {
        name: wheel.sha256 for name, wheel in runtime.items()
    }


def test_every_architecture_has_the_same_versions() -> None:
    for name in _INPUTS:
        versions = [
            {wheel.name: wheel.version for wheel in _lock(name, arch).values()}
            for arch in _ARCHITECTURES
        ]
        assert versions[0] == versions[1]


@pytest.mark.parametrize(("name", "arch"), _LOCKS)
def test_every_wheel_fits_the_images_python_and_c_library(name: str, arch: str) -> None:
    tags = target_from_debian_lock(_DEBIAN_LOCK, arch=arch).tags
    misfits = [
        wheel.filename
        for wheel in _lock(name, arch).values()
        if not parse_wheel_filename(wheel.filename)[3] & tags
    ]
    assert misfits == []


def test_only_the_packages_name_an_address() -> None:
    for path in _HERE.rglob("requirements*"):
        assert "://" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("arch", _ARCHITECTURES)
def test_the_wheels_need_each_other_and_nothing_else(arch: str) -> None:
    lock = _lock(_INPUTS[0], arch)
    closure = find_closure(
        read_requirements(_HERE / f"{_INPUTS[0]}.in"),
        distributions={found.name: found for found in map(_distribution, _wheels(arch))},
        environment=target_from_debian_lock(_DEBIAN_LOCK, arch=arch).marker_environment,
    )
    assert closure.missing == ()
    assert {
        name: (tuple(sorted(needed.extras)), tuple(sorted(needed.via)))
        for name, needed in closure.needed.items()
    } == {name: (wheel.extras, wheel.via) for name, wheel in lock.items()}


@functools.cache
def _trees() -> list[tuple[str, list[WheelTree]]]:
    """Return each architecture's wheels; reading them takes most of this file's time."""
    return [(arch, [read_wheel(wheel) for wheel in _wheels(arch)]) for arch in _ARCHITECTURES]


def with_bytecode_paths(tree: WheelTree) -> WheelTree:
    """Return the tree with a place for each module's bytecode, which may be excluded too."""
    added = [
        replace(file, path=pyc_path(file.path), data=b"")
        for file in tree.files
        if file.path.endswith(".py")
    ]
    return replace(tree, files=(*tree.files, *added))


def _globs_of_other_pythons() -> set[str]:
    entries = json.loads((_HERE / "excluded_paths.json").read_text(encoding="utf-8"))
    environment = targets_from_debian_lock(_DEBIAN_LOCK)[0].marker_environment
    return {
        entry["glob"]
        for entry in entries
        if "marker" in entry and not Marker(entry["marker"]).evaluate(environment)
    }


def test_wheels_do_not_overlap_and_every_exclusion_still_means_something() -> None:
    globs = read_exclusions(_HERE / "excluded_paths.json")
    elsewhere = _globs_of_other_pythons()
    everything: list[WheelTree] = []
    for _, trees in _trees():
        kept = [without_excluded(tree, globs=globs) for tree in trees]
        assert len(merge(kept)) > len(kept)
        everything += [with_bytecode_paths(tree) for tree in trees]
    assert set(unused_globs(everything, globs=globs)) == elsewhere


def test_a_process_maps_of_a_stripped_object_what_it_would_map_of_the_wheels() -> None:
    shorter = 0
    for _, trees in _trees():
        for file in (file for tree in trees for file in tree.files):
            stripped = strip_object(file.data)
            if stripped != file.data:
                assert mapped(stripped) == mapped(file.data), f"{file.wheel}: {file.path}"
                shorter += len(file.data) - len(stripped)
    assert shorter > 20_000_000
