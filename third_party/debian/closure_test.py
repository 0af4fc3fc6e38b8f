"""Small because proved: whatever stays finds every library it needs among what stays.

Reads all packages of the lock, so it runs under Bazel, which fetches them.
"""

from __future__ import annotations

import functools
import os
import re
from bisect import bisect_left
from pathlib import Path, PurePosixPath

import pytest

from tools.apt.lockfile import read_lock
from tools.apt.maintainer_scripts import links_of, read_scripts
from tools.archive.bytecode import pyc_path
from tools.archive.globs import Exclusions
from tools.image.image_files import ImageFiles
from tools.linux.architectures import ARCHITECTURES
from tools.proof.allowlist import Allowlist
from tools.proof.closure import judge, report
from tools.proof.package_files import PackageFiles, merge, read_packages

_HERE = Path(__file__).parent
_LOCK_FILE = Path(os.environ["LOCK"])
_LOCK = read_lock(_LOCK_FILE)
_SCRIPTS = read_scripts([_HERE / "maintainer_scripts.yaml"])
_ARCHS = sorted(ARCHITECTURES)
_GLOBS = tuple(rule.glob for rule in _LOCK.excluded_paths)
# What is started of each group, or loaded by name; `*` stands for what changes with a version.
_PROGRAMS = {
    "nginx": ["usr/sbin/nginx"],
    "postgres": ["usr/lib/postgresql/*/bin/*", "usr/lib/postgresql/*/lib/*.so"],
    "redis": ["usr/bin/redis-server", "usr/bin/redis-cli"],
    "registry": ["usr/bin/docker-registry"],
    "signing": ["usr/bin/gpgv"],
    "toolchain": ["usr/bin/python3.*", "usr/lib/python3.*/lib-dynload/*.so"],
}
# Large, and started by the tests that need them: what they lack shows there.
_STARTED_BY_TESTS = {"apt", "browser", "busybox", "git", "qemu", "rabbitmq", "readers"}
# Tables that the audit reads; nothing of it is started.
_DATA = {"support"}
# Keeps programs of the group `browser`, which is too large to be read here.
_BROWSER = "!usr/bin/chrom*"
# Modules of PostgreSQL that the tests do not load, and whose libraries are left out.
_UNUSED = ("llvmjit.so", "sepgsql.so")


_ALLOWED = {"links": {"/usr/lib/ssl/cert.pem": "system_layer writes the bundle"}}
# Python before 3.13 has it.
_ALLOWED_CGI = {
    "scripts": {"/usr/lib/python3.*/cgi.py": "an example of upstream's; nothing starts it"}
}
_ALLOWED_WITHOUT_SHELL = {
    **_ALLOWED,
    "scripts": {"/usr/lib/python3.*/*.py": "modules that need /usr/bin/env only when executed"},
}


def _debs(arch: str, groups: tuple[str, ...]) -> list[Path]:
    """Return the packages' files, from the runfiles that the BUILD file names."""
    names = {name for group in groups for name in _LOCK.groups[group][arch]}
    runfiles = Path(os.environ["TEST_SRCDIR"])
    files = {
        path.name.partition("_")[0]: path
        for path in (runfiles / text for text in os.environ[f"DEBS_{arch.upper()}"].split())
    }
    return [files[name] for name in sorted(names)]


@functools.cache
def _packages(arch: str) -> tuple[PackageFiles, ...]:
    """Return the image's packages without the excluded paths; reading them takes some seconds."""
    return read_packages(_debs(arch, _LOCK.image_groups), exclusions=Exclusions(_GLOBS))


def _links(arch: str) -> dict[str, str]:
    """Return the links that system_layer makes for the packages."""
    links: dict[str, str] = {}
    for package in _packages(arch):
        for action in _SCRIPTS.actions(package.name):
            links |= links_of(action, triplet=ARCHITECTURES[arch].triplet)
    return links


@functools.cache
def _image(arch: str) -> ImageFiles:
    return merge(_packages(arch), architecture=arch, links=_links(arch))


@pytest.mark.parametrize("arch", _ARCHS)
def test_every_object_script_and_link_of_the_image_finds_what_it_needs(arch: str) -> None:
    has_cgi = any(path.endswith("/cgi.py") for path in _image(arch).files)
    allowlist = Allowlist({**_ALLOWED, **(_ALLOWED_CGI if has_cgi else {})})
    verdict = judge(_image(arch), allowlist)
    assert verdict.findings == [], report(verdict, name=arch)
    assert allowlist.idle() == []
    assert verdict.counts["objects"] > 450, "or too little was looked at"


@pytest.mark.parametrize("arch", _ARCHS)
def test_without_the_shell_nothing_is_missed(arch: str) -> None:
    shell = _LOCK.groups["shell"][arch]
    packages = [package for package in _packages(arch) if package.name not in shell]
    image = merge(packages, architecture=arch, links=_links(arch))
    assert image.realpath("/usr/bin/sh") is None
    verdict = judge(image, Allowlist(_ALLOWED_WITHOUT_SHELL))
    assert verdict.findings == [], report(verdict, name=arch)


@pytest.mark.parametrize("arch", _ARCHS)
def test_without_the_links_of_update_alternatives_the_image_is_not_closed(arch: str) -> None:
    verdict = judge(merge(_packages(arch), architecture=arch))
    lost = report(verdict, name=arch)
    assert "needs libblas.so.3," in lost
    assert "needs liblapack.so.3," in lost


@pytest.mark.parametrize("arch", _ARCHS)
@pytest.mark.parametrize("path", ["usr/bin/ffmpeg", "usr/bin/ffprobe", "usr/bin/python3"])
def test_the_programs_of_the_image_are_there(arch: str, path: str) -> None:
    assert _image(arch).realpath(f"/{path}") is not None


@pytest.mark.parametrize("arch", _ARCHS)
def test_data_that_is_opened_by_name_is_there(arch: str) -> None:
    triplet = ARCHITECTURES[arch].triplet
    paths = [path for path, _ in _image(arch).entries()]
    for glob in (
        f"/usr/lib/{triplet}/gconv/gconv-modules",
        f"/usr/lib/{triplet}/gconv/ISO8859-1.so",
        "/usr/share/zoneinfo/Europe/Berlin",
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "/etc/fonts/fonts.conf",
        "/etc/mime.types",
        "/usr/lib/ssl/openssl.cnf",
        "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt",
        "/usr/lib/python3.*/os.py",
        "/usr/lib/locale/C.utf8/LC_CTYPE",
        "/usr/share/doc/libc6/copyright",
    ):
        found = [path for path in paths if PurePosixPath(path).match(glob)]
        assert found, glob
        assert _image(arch).realpath(found[0]), glob


@pytest.mark.parametrize("arch", _ARCHS)
def test_what_the_image_is_not_for_is_not_there(arch: str) -> None:
    image = _image(arch)
    for name in ("dpkg", "apt", "perl", "bash", "gcc", "openssl", "ffplay", "iconv"):
        assert image.realpath(f"/usr/bin/{name}") is None, name
    for glob in ("*.a", "*.la", "*.pc", "*.h", "*.pyc"):
        assert not [path for path in image.files if PurePosixPath(path).match(glob)], glob


def test_every_excluded_path_leaves_something_out() -> None:
    # image_debug has this group too.
    busybox = (read_packages(_debs(arch, ("busybox",))) for arch in _ARCHS)
    packages = [package for arch in _ARCHS for package in _packages(arch)]
    packages += [package for found in busybox for package in found]
    paths = {path for package in packages for path in (*package.entries, *package.dropped)}
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
    assert idle == [], f"drop them from exclude_paths of {_LOCK_FILE}'s intent"


@pytest.mark.parametrize("arch", _ARCHS)
@pytest.mark.parametrize("group", sorted(_PROGRAMS))
def test_the_programs_of_a_tool_group_find_what_they_need(group: str, arch: str) -> None:
    image = merge(read_packages(_debs(arch, (group,))), architecture=arch)
    wanted = Exclusions(tuple(_PROGRAMS[group]))
    roots = [
        path
        for path, file in image.files.items()
        if file.elf is not None and wanted.match(path[1:]) and not path.endswith(_UNUSED)
    ]
    assert roots
    verdict = judge(image, roots=roots)
    assert verdict.findings == [], report(verdict, name=group)


def test_every_tool_group_is_judged() -> None:
    judged = set(_PROGRAMS) | _STARTED_BY_TESTS | _DATA
    assert judged == set(_LOCK.groups) - set(_LOCK.image_groups)
