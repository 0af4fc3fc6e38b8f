"""What must hold of the locks whatever is in them, and that apt agrees with the image's."""

import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from tools.apt.available import read_available
from tools.apt.compare_apt import differences, read_record
from tools.apt.intent import read_intent
from tools.apt.lockfile import SNAPSHOT_FORMAT, encode, read_lock
from tools.apt.maintainer_scripts import read_scripts
from tools.apt.versions import compare
from tools.archive.globs import Exclusions

_HERE = Path(__file__).parent
_INTENT = read_intent(_HERE / "bookworm.yaml")
_ARCHS = ("amd64", "arm64")
_NAMES = ("bookworm", "conformance")
_LOCKS = {name: read_lock(_HERE / f"{name}.lock.json") for name in _NAMES}
_LOCK = _LOCKS["bookworm"]


@pytest.mark.parametrize("name", _NAMES)
def test_the_lock_was_made_from_the_intent_as_it_is(name: str) -> None:
    intent = read_intent(_HERE / f"{name}.yaml")
    again = f"{name}.yaml changed since; run: {_LOCKS[name].command}"
    assert _LOCKS[name].intent_sha256 == intent.sha256, again


@pytest.mark.parametrize("name", _NAMES)
def test_the_lock_is_as_the_tool_writes_it(name: str) -> None:
    text = (_HERE / f"{name}.lock.json").read_text(encoding="utf-8")
    again = f"edited by hand, or by another version; run: {_LOCKS[name].command}"
    assert encode(_LOCKS[name]) == text, again


def test_what_the_suites_offer_is_known_of_every_package() -> None:
    found = read_available(_HERE / "bookworm.available.json")
    missing = [
        (package.name, package.arch)
        for package in _LOCK.packages
        if found.newest(package.name, arch=package.arch) is None
    ]
    assert missing == [], f"run: {_LOCK.command} -- --refresh"


def test_the_image_is_what_apt_would_install_less_the_exclusions() -> None:
    record = read_record(_HERE / "apt_comparison.json")
    assert differences(record, lock=_LOCK, intent=_INTENT) == []


def test_every_declared_script_is_of_a_package_of_the_image() -> None:
    image = {name for arch in _ARCHS for name in _LOCK.image(arch)}
    declared = read_scripts([_HERE / "maintainer_scripts.yaml"]).entries
    assert sorted(declared.keys() - image) == [], "drop them from maintainer_scripts.yaml"


def test_every_group_is_there_for_both_architectures() -> None:
    groups = [group.name for group in (*_INTENT.image, *_INTENT.tools)]
    assert sorted(_LOCK.groups) == sorted(groups)
    for by_arch in _LOCK.groups.values():
        assert set(by_arch) == set(_ARCHS)
        assert all(by_arch.values()), "no group is empty"


@pytest.mark.parametrize("arch", _ARCHS)
def test_what_is_asked_for_is_there(arch: str) -> None:
    for group in _INTENT.tools:
        assert set(group.packages) <= set(_LOCK.groups[group.name][arch])
    assert set(_INTENT.requested()) <= set(_LOCK.image(arch))


@pytest.mark.parametrize("arch", _ARCHS)
def test_the_groups_of_the_image_do_not_overlap(arch: str) -> None:
    names = [name for group in _LOCK.image_groups for name in _LOCK.groups[group][arch]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("arch", _ARCHS)
def test_groups_and_packages_cover_each_other(arch: str) -> None:
    grouped = {name for by_arch in _LOCK.groups.values() for name in by_arch[arch]}
    locked = [package.name for package in _LOCK.packages if package.arch == arch]
    assert sorted(grouped) == sorted(locked), "each package once, and none without a group"


@pytest.mark.parametrize("arch", _ARCHS)
def test_every_dependency_of_the_image_is_in_it_or_excluded(arch: str) -> None:
    image = _LOCK.image(arch)
    for package in image.values():
        loose = set(package.depends) - set(image) - set(_LOCK.excluded_versions[arch])
        assert not loose, f"{package.name} depends on {loose}"


@pytest.mark.parametrize("arch", _ARCHS)
def test_no_excluded_package_is_in_the_image(arch: str) -> None:
    assert not set(_LOCK.image(arch)) & set(_LOCK.excluded_packages)


@pytest.mark.parametrize("name", _NAMES)
def test_every_file_can_be_fetched_and_checked(name: str) -> None:
    archives = {suite.archive for suite in read_intent(_HERE / f"{name}.yaml").suites}
    for package in _LOCKS[name].packages:
        path = PurePosixPath(package.filename)
        assert path.parts[0] == "pool", package
        assert ".." not in path.parts, package
        assert path.name.startswith(f"{package.name}_"), package
        assert path.name.endswith((f"_{package.arch}.deb", "_all.deb")), package
        assert re.fullmatch("[0-9a-f]{64}", package.sha256), package
        assert 500 < package.size < 1 << 30, package
        assert package.archive in archives, package
        # `0~…` is a version too, and below 0.
        assert compare(package.version, "0~~") > 0, package


@pytest.mark.parametrize("name", _NAMES)
def test_both_architectures_have_the_same_versions(name: str) -> None:
    # A rebuild for one architecture alone ends in +b1; all else means a half-updated mirror.
    versions: dict[str, set[str]] = {}
    for package in _LOCKS[name].packages:
        version = re.sub(r"\+b\d+$", "", package.version)
        versions.setdefault(package.name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", _NAMES)
def test_a_package_for_all_architectures_is_one_file(name: str) -> None:
    files: dict[str, set[str]] = {}
    for package in _LOCKS[name].packages:
        if package.filename.endswith("_all.deb"):
            files.setdefault(package.name, set()).add(package.sha256)
    assert files
    assert all(len(hashes) == 1 for hashes in files.values())


def test_the_layers_have_the_time_that_is_written_in_the_intent() -> None:
    assert _LOCK.mtime == _INTENT.timestamp
    snapshot = datetime.strptime(_LOCK.snapshot, SNAPSHOT_FORMAT).replace(tzinfo=UTC)
    assert _LOCK.mtime <= snapshot.timestamp(), "files from the future"


def test_every_excluded_path_is_a_glob_that_works() -> None:
    exclusions = Exclusions(tuple(rule.glob for rule in _LOCK.excluded_paths))
    assert exclusions.match("usr/share/man/man1/ls.1.gz")
    assert not exclusions.match("usr/share/doc/libc6/copyright")
    assert not exclusions.match("usr/share/zoneinfo/Europe/Berlin")
