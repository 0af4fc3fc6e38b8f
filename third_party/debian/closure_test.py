"""Small because proved: whatever stays finds every library it needs among what stays.

Reads all packages of the lock, so it runs under Bazel, which fetches them.
"""

import functools
import os
import re
from bisect import bisect_left
from pathlib import Path

import pytest

from tools.apt.elf_needs import Tree, alternatives, image_tree, missing, reach, read_tree
from tools.apt.lockfile import read_lock
from tools.apt.paths import Exclusions
from tools.linux.architectures import ARCHITECTURES
from tools.wheels.bytecode import pyc_path

_LOCK = read_lock(Path(__file__).parent / "bookworm.lock.json")
_ARCHS = sorted(ARCHITECTURES)
_GLOBS = tuple(rule.glob for rule in _LOCK.excluded_paths)
# What is started of each group, or loaded by name.
_PROGRAMS = {
    "postgres": ["usr/lib/postgresql/15/bin/*", "usr/lib/postgresql/15/lib/*.so"],
    "redis": ["usr/bin/redis-server", "usr/bin/redis-cli"],
    "registry": ["usr/bin/docker-registry"],
    "signing": ["usr/bin/gpgv"],
    "toolchain": ["usr/bin/python3.11", "usr/lib/python3.11/lib-dynload/*.so"],
}
# Large, and started by the tests that need them: what they lack shows there.
_STARTED_BY_TESTS = {"browser", "busybox", "qemu", "rabbitmq", "readers"}
# Keeps programs of the group `browser`, which is too large to be read here.
_BROWSER = "!usr/bin/chrom*"
# Modules of PostgreSQL that the tests do not load, and whose libraries are left out.
_UNUSED = ("llvmjit.so", "sepgsql.so")


def _debs(arch: str, groups: tuple[str, ...]) -> list[Path]:
    """Return the packages' files, from the runfiles that the BUILD file names."""
    names = {name for group in groups for name in _LOCK.groups[group][arch]}
    runfiles = Path(os.environ["TEST_SRCDIR"])
    files = {
        path.name.partition("_")[0]: path
        for path in (runfiles / text for text in os.environ[f"DEBS_{arch.upper()}"].split())
    }
    return [files[name] for name in sorted(names)]


def _shell(arch: str) -> tuple[str, ...]:
    return _LOCK.groups["shell"][arch]


@functools.cache
def _files(arch: str) -> Tree:
    """Return all files of the image's packages; reading them takes some seconds."""
    return read_tree(_debs(arch, _LOCK.image_groups), arch=arch)


@pytest.fixture(params=_ARCHS)
def image(request: pytest.FixtureRequest) -> Tree:
    """The image's Debian files, for each architecture."""
    return image_tree(_files(str(request.param)), exclusions=Exclusions(_GLOBS))


def test_every_object_of_the_image_finds_what_it_needs(image: Tree) -> None:
    assert missing(image) == []
    assert sum(1 for _ in image.objects()) > 450, "or too little was looked at"


def test_without_the_shell_nothing_is_missed(image: Tree) -> None:
    for path in [path for path, file in image.files.items() if file.package in _shell(image.arch)]:
        del image.files[path]
    assert image.resolve("usr/bin/sh") is None
    assert missing(image) == []


def test_without_the_links_of_update_alternatives_the_image_is_not_closed(image: Tree) -> None:
    links = alternatives(image)
    assert len(links) == 2
    for path in links:
        del image.files[path]
    lost = " ".join(missing(image))
    assert "needs libblas.so.3," in lost
    assert "needs liblapack.so.3," in lost


@pytest.mark.parametrize("path", ["usr/bin/ffmpeg", "usr/bin/ffprobe", "usr/bin/python3"])
def test_the_programs_of_the_image_are_there(image: Tree, path: str) -> None:
    assert image.resolve(path) is not None


def test_data_that_is_opened_by_name_is_there(image: Tree) -> None:
    triplet = ARCHITECTURES[image.arch].triplet
    for path in (
        f"usr/lib/{triplet}/gconv/gconv-modules",
        f"usr/lib/{triplet}/gconv/ISO8859-1.so",
        "usr/share/zoneinfo/Europe/Berlin",
        "usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "etc/fonts/fonts.conf",
        "etc/mime.types",
        "usr/lib/ssl/openssl.cnf",
        "usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt",
        "usr/lib/python3.11/os.py",
        "usr/lib/locale/C.utf8/LC_CTYPE",
        "usr/share/doc/libc6/copyright",
    ):
        assert path in image.files or image.resolve(path) is not None, path


def test_what_the_image_is_not_for_is_not_there(image: Tree) -> None:
    for name in ("dpkg", "apt", "perl", "bash", "gcc", "openssl", "ffplay", "iconv"):
        assert image.resolve(f"usr/bin/{name}") is None, name
    for glob in ("*.a", "*.la", "*.pc", "*.h", "*.pyc"):
        assert not [path for path in image.files if Path(path).match(glob)], glob


def test_every_excluded_path_leaves_something_out() -> None:
    paths = {path for arch in _ARCHS for path in _files(arch).files}
    # image_debug has this group too.
    paths |= {
        path for arch in _ARCHS for path in read_tree(_debs(arch, ("busybox",)), arch=arch).files
    }
    # The bytecode that system_layer would make of them.
    paths |= {pyc_path(path) for path in paths if path.endswith(".py")}
    ordered = sorted(paths)
    idle = []
    for glob in set(_GLOBS) - {_BROWSER}:
        # Paths that begin as the glob does, up to its first wildcard, lie together.
        begin = re.split(r"[*?[]", glob.removeprefix("!"), maxsplit=1)[0]
        near = ordered[bisect_left(ordered, begin) : bisect_left(ordered, begin + "\x7f")]
        rule = Exclusions((glob.removeprefix("!"),))
        if not any(rule.match(path) for path in near):
            idle.append(glob)
    assert idle == [], "drop them from exclude_paths in bookworm.yaml"


@pytest.mark.parametrize("arch", _ARCHS)
@pytest.mark.parametrize("group", sorted(_PROGRAMS))
def test_the_programs_of_a_tool_group_find_what_they_need(group: str, arch: str) -> None:
    tree = read_tree(_debs(arch, (group,)), arch=arch)
    wanted = Exclusions(tuple(_PROGRAMS[group]))
    roots = [
        path for path, _ in tree.objects() if wanted.match(path) and not path.endswith(_UNUSED)
    ]
    assert roots
    assert missing(tree, within=reach(tree, roots)) == []


def test_every_tool_group_is_judged() -> None:
    assert set(_PROGRAMS) | _STARTED_BY_TESTS == set(_LOCK.groups) - set(_LOCK.image_groups)
