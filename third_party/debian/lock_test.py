"""What must hold of the locks whatever is in them, and that apt agrees with the image's."""

import fnmatch
import os
import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from tools.apt.available import read_available
from tools.apt.compare_apt import differences, read_record
from tools.apt.intent import Intent, read_intent
from tools.apt.lockfile import SNAPSHOT_FORMAT, Lock, encode, read_lock
from tools.apt.maintainer_scripts import read_scripts
from tools.apt.versions import compare
from tools.archive.globs import Exclusions

_HERE = Path(__file__).parent
_ARCHS = ("amd64", "arm64")
# Those of an image, and all.
_SUITES = os.environ["SUITES"].split()
_NAMES = (*_SUITES, "conformance")
_INTENTS = {name: read_intent(_HERE / f"{name}.yaml") for name in _NAMES}
_LOCKS = {name: read_lock(_HERE / f"{name}.lock.json") for name in _NAMES}


@pytest.fixture(params=_SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """Return each suite in turn."""
    return str(request.param)


@pytest.fixture
def lock(suite: str) -> Lock:
    """Return the suite's lock."""
    return _LOCKS[suite]


@pytest.fixture
def intent(suite: str) -> Intent:
    """Return what the suite's lock was made from."""
    return _INTENTS[suite]


@pytest.mark.parametrize("name", _NAMES)
def test_the_lock_was_made_from_the_intent_as_it_is(name: str) -> None:
    intent = _INTENTS[name]
    again = f"{name}.yaml changed since; run: {_LOCKS[name].command}"
    assert _LOCKS[name].intent_sha256 == intent.sha256, again


@pytest.mark.parametrize("name", _NAMES)
def test_the_lock_is_as_the_tool_writes_it(name: str) -> None:
    text = (_HERE / f"{name}.lock.json").read_text(encoding="utf-8")
    again = f"edited by hand, or by another version; run: {_LOCKS[name].command}"
    assert encode(_LOCKS[name]) == text, again


def test_what_the_suites_offer_is_known_of_every_package(lock: Lock, suite: str) -> None:
    found = read_available(_HERE / f"{suite}.available.json")
    missing = [
        (package.name, package.arch)
        for package in lock.packages
        if found.newest(package.name, arch=package.arch) is None
    ]
    assert missing == [], f"run: {lock.command} -- --refresh"


def test_the_image_is_what_apt_would_install_less_the_exclusions(
    lock: Lock, intent: Intent, suite: str
) -> None:
    record = read_record(_HERE / f"{suite}.apt_comparison.json")
    assert differences(record, lock=lock, intent=intent) == []


def test_every_declared_script_is_of_a_package_of_an_image() -> None:
    image = {name for lock in _LOCKS.values() for arch in _ARCHS for name in lock.image(arch)}
    declared = read_scripts([_HERE / "maintainer_scripts.yaml"]).entries
    idle = [key for key in declared if not fnmatch.filter(image, key)]
    assert idle == [], "drop them from maintainer_scripts.yaml"


def test_every_group_is_there_for_both_architectures(lock: Lock, intent: Intent) -> None:
    groups = [group.name for group in (*intent.image, *intent.tools)]
    assert sorted(lock.groups) == sorted(groups)
    for by_arch in lock.groups.values():
        assert set(by_arch) == set(_ARCHS)
        assert all(by_arch.values()), "no group is empty"


@pytest.mark.parametrize("arch", _ARCHS)
def test_what_is_asked_for_is_there(arch: str, lock: Lock, intent: Intent) -> None:
    for group in intent.tools:
        assert set(group.packages) <= set(lock.groups[group.name][arch])
    assert set(intent.requested()) <= set(lock.image(arch))


@pytest.mark.parametrize("arch", _ARCHS)
def test_the_groups_of_the_image_do_not_overlap(arch: str, lock: Lock) -> None:
    names = [name for group in lock.image_groups for name in lock.groups[group][arch]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("arch", _ARCHS)
def test_groups_and_packages_cover_each_other(arch: str, lock: Lock) -> None:
    grouped = {name for by_arch in lock.groups.values() for name in by_arch[arch]}
    locked = [package.name for package in lock.packages if package.arch == arch]
    assert sorted(grouped) == sorted(locked), "each package once, and none without a group"


@pytest.mark.parametrize("arch", _ARCHS)
def test_every_dependency_of_the_image_is_in_it_or_excluded(arch: str, lock: Lock) -> None:
    image = lock.image(arch)
    for package in image.values():
        loose = set(package.depends) - set(image) - set(lock.excluded_versions[arch])
        assert not loose, f"{package.name} depends on {loose}"


@pytest.mark.parametrize("arch", _ARCHS)
def test_no_excluded_package_is_in_the_image(arch: str, lock: Lock) -> None:
    assert not set(lock.image(arch)) & set(lock.excluded_packages)


@pytest.mark.parametrize("name", _NAMES)
def test_every_file_can_be_fetched_and_checked(name: str) -> None:
    archives = {suite.archive for suite in _INTENTS[name].suites}
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


def test_the_layers_have_the_time_that_is_written_in_the_intent(lock: Lock, intent: Intent) -> None:
    assert lock.mtime == intent.timestamp
    snapshot = datetime.strptime(lock.snapshot, SNAPSHOT_FORMAT).replace(tzinfo=UTC)
    assert lock.mtime <= snapshot.timestamp(), "files from the future"


def test_every_excluded_path_is_a_glob_that_works(lock: Lock) -> None:
    exclusions = Exclusions(tuple(rule.glob for rule in lock.excluded_paths))
    assert exclusions.match("usr/share/man/man1/ls.1.gz")
    assert not exclusions.match("usr/share/doc/libc6/copyright")
    assert not exclusions.match("usr/share/zoneinfo/Europe/Berlin")
