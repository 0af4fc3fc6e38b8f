"""Packages become a layer: scanners see each, conflicts name both, surroundings change no byte."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tools.apt import deb_layer
from tools.archive.debs_for_test import TarMember, directory, hardlink, symlink, write_deb


def _lock(path: Path, *globs: str) -> Path:
    lock = path / "lock.json"
    excluded = [{"glob": glob, "reason": "a test"} for glob in globs]
    lock.write_text(json.dumps({"mtime": 1_700_000_000, "excluded_paths": excluded}))
    return lock


def _flags(out: Path, lock: Path, debs: list[Path]) -> list[str]:
    out.mkdir(exist_ok=True)
    flags = ["--lock", str(lock), "--out", f"{out}/l.tar.gz", "--descriptor", f"{out}/l.json"]
    return flags + [text for deb in debs for text in ("--deb", str(deb))]


def _contents(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def _read(path: Path, name: str) -> str:
    with tarfile.open(path) as tar:
        content = tar.extractfile(name)
        assert content is not None
        return content.read().decode()


def _base_files(path: Path) -> Path:
    members = [
        directory("./bin/"),
        directory("./var/run/"),
        directory("./tmp/", mode=0o1777),
        TarMember("./etc/debian_version", b"12.4\n"),
    ]
    return write_deb(path, "base-files", members)


def test_the_surroundings_of_the_build_change_no_byte(tmp_path: Path) -> None:
    debs = [
        write_deb(tmp_path, name, [TarMember(f"./usr/share/{name}/F\u0151", name.encode() * 9999)])
        for name in ("a", "b", "c")
    ]
    lock = _lock(tmp_path)
    surroundings = [
        (0o022, {"TZ": "UTC", "LANG": "C", "PYTHONHASHSEED": "0"}, "1", debs),
        (
            0o077,
            {"TZ": "Asia/Tokyo", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "9"},
            "3",
            debs[::-1],
        ),
    ]
    results = set()
    for number, (umask, environment, jobs, order) in enumerate(surroundings):
        out = tmp_path / f"out{number}"
        command = [sys.executable, "-m", "tools.apt.deb_layer", "--jobs", jobs]
        subprocess.run(
            [*command, *_flags(out, lock, order)],
            check=True,
            umask=umask,
            env={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
            timeout=60,
        )
        results.add(((out / "l.tar.gz").read_bytes(), (out / "l.json").read_text()))
    assert len(results) == 1


def test_scanners_find_every_package_and_the_sums_of_the_files_that_stay(tmp_path: Path) -> None:
    content = b"data"
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    sums = f"{digest}  lib/libx.so\n{digest}  usr/share/man/x.1\n".encode()
    members = [TarMember("./lib/libx.so", content), TarMember("./usr/share/man/x.1", content)]
    deb = write_deb(tmp_path, "libx", members, files={"md5sums": sums})
    assert deb_layer.main(_flags(tmp_path, _lock(tmp_path, "usr/share/man/**"), [deb])) == 0
    layer = tmp_path / "l.tar.gz"
    status = _read(layer, "var/lib/dpkg/status.d/libx").splitlines()
    assert status[:3] == ["Package: libx", "Status: install ok installed", "Version: 1.0"]
    assert _read(layer, "var/lib/dpkg/info/libx.md5sums") == f"{digest}  usr/lib/libx.so\n"
    with tarfile.open(layer) as tar:
        sums_link = tar.getmember("var/lib/dpkg/status.d/libx.md5sums")
    # A file would be taken for a stanza.
    assert (sums_link.issym(), sums_link.linkname) == (True, "../info/libx.md5sums")


def test_configuration_that_stays_is_in_the_stanza_as_in_dpkgs_own_list(tmp_path: Path) -> None:
    members = [TarMember(f"./etc/{name}", name.encode()) for name in ("a", "b", "c")]
    conffiles = b"/etc/b\n/etc/a\n/etc/c\nremove-on-upgrade /etc/old\n"
    deb = write_deb(tmp_path, "x", members, files={"conffiles": conffiles})
    assert deb_layer.main(_flags(tmp_path, _lock(tmp_path, "etc/c"), [deb])) == 0
    status = _read(tmp_path / "l.tar.gz", "var/lib/dpkg/status.d/x")
    sums = {n: hashlib.md5(n.encode(), usedforsecurity=False).hexdigest() for n in ("a", "b")}
    assert status.endswith(f"\nConffiles:\n /etc/a {sums['a']}\n /etc/b {sums['b']}\n")


def test_a_package_without_sums_gets_them_for_all_but_its_configuration(tmp_path: Path) -> None:
    members = [TarMember("./etc/x.conf", b"1"), TarMember("./usr/bin/x", b"2")]
    deb = write_deb(tmp_path, "x", members, files={"conffiles": b"/etc/x.conf\n"})
    assert deb_layer.main(_flags(tmp_path, _lock(tmp_path), [deb])) == 0
    digest = hashlib.md5(b"2", usedforsecurity=False).hexdigest()
    sums = _read(tmp_path / "l.tar.gz", "var/lib/dpkg/info/x.md5sums")
    assert sums == f"{digest}  usr/bin/x\n"


def test_base_files_brings_the_links_of_the_root(tmp_path: Path) -> None:
    assert deb_layer.main(_flags(tmp_path, _lock(tmp_path), [_base_files(tmp_path)])) == 0
    members = _contents(tmp_path / "l.tar.gz")
    links = {name: member.linkname for name, member in members.items() if member.issym()}
    assert links == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "sbin": "usr/sbin",
        "var/lib/dpkg/status.d/base-files.md5sums": "../info/base-files.md5sums",
        "var/lock": "/run/lock",
        "var/run": "/run",
    }
    assert members["tmp"].mode == 0o1777


def test_arm64_has_no_lib64(tmp_path: Path) -> None:
    deb = write_deb(tmp_path, "base-files", architecture="arm64")
    assert deb_layer.main(_flags(tmp_path, _lock(tmp_path), [deb])) == 0
    assert "lib64" not in _contents(tmp_path / "l.tar.gz")


def test_hard_links_of_a_package_stay_hard_links(tmp_path: Path) -> None:
    members = [TarMember("./lib/b", b"1", mode=0o755), hardlink("./lib/a", "./lib/b")]
    deb = write_deb(tmp_path, "x", members)
    assert deb_layer.main(_flags(tmp_path, _lock(tmp_path), [deb])) == 0
    contents = _contents(tmp_path / "l.tar.gz")
    assert contents["usr/lib/a"].isreg()
    assert contents["usr/lib/b"].linkname == "usr/lib/a"


def _error(tmp_path: Path, capsys: pytest.CaptureFixture[str], debs: list[Path]) -> str:
    assert deb_layer.main(_flags(tmp_path / "out", _lock(tmp_path), debs)) == 1
    error = capsys.readouterr().err
    assert error.startswith("deb_layer: ")
    assert error.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())
    return error


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TarMember("./etc/x", b"1"), TarMember("./etc/x", b"2")),
        (TarMember("./bin/x", b"1"), TarMember("./usr/bin/x", b"2")),
        (TarMember("./etc/x", b"1"), symlink("./etc/x", "y")),
        (directory("./srv"), directory("./srv", mode=0o700)),
    ],
)
def test_two_packages_with_different_files_at_one_path_are_both_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one: TarMember, other: TarMember
) -> None:
    debs = [write_deb(tmp_path, "first", [one]), write_deb(tmp_path, "second", [other])]
    error = _error(tmp_path, capsys, debs)
    assert "packages 'first' and 'second' both ship it" in error
    assert "exclude the path in the lock's intent" in error


def test_a_path_that_no_layer_can_have_names_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deb = write_deb(tmp_path, "hostile", [TarMember("./etc/.wh.passwd")])
    assert "hostile: 'etc/.wh.passwd'" in _error(tmp_path, capsys, [deb])


def test_a_link_that_another_package_writes_through_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debs = [
        write_deb(tmp_path, "first", [symlink("./srv", "/etc")]),
        write_deb(tmp_path, "second", [TarMember("./srv/passwd", b"root::0:0")]),
    ]
    assert "srv/passwd: lies below srv, which is a symlink" in _error(tmp_path, capsys, debs)


def test_an_unknown_architecture_is_an_error_that_names_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deb = write_deb(tmp_path, "base-files", architecture="riscv64")
    assert "is for 'riscv64'; images can be made for amd64, arm64" in _error(
        tmp_path, capsys, [deb]
    )


def test_a_program_can_be_given_more_names(tmp_path: Path) -> None:
    deb = write_deb(tmp_path, "x", [TarMember("./bin/x", b"program", mode=0o755)])
    links = {"/usr/local/bin/y": "/usr/bin/x", "/srv/day=1": "a=b"}
    content = tmp_path / "content.json"
    content.write_text(json.dumps({"symlinks": links}))
    flags = _flags(tmp_path, _lock(tmp_path), [deb])
    assert deb_layer.main([*flags, f"--content={content}"]) == 0
    contents = _contents(tmp_path / "l.tar.gz")
    assert contents["usr/local/bin/y"].linkname == "/usr/bin/x"
    assert contents["srv/day=1"].linkname == "a=b"


@pytest.mark.parametrize(("path", "target"), [("usr/bin/y", "/usr/bin/x"), ("/usr/bin/y", "")])
def test_a_name_without_path_or_target_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, target: str
) -> None:
    deb = write_deb(tmp_path, "x")
    content = tmp_path / "content.json"
    content.write_text(json.dumps({"symlinks": {path: target}}))
    flags = _flags(tmp_path, _lock(tmp_path), [deb])
    assert deb_layer.main([*flags, f"--content={content}"]) == 1
    expected = f"the link '{path}' to '{target}' needs an absolute path and a target"
    assert expected in capsys.readouterr().err


def test_a_lock_that_is_invalid_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock.json"
    for content, cause in (
        ("{}", "not a lock"),
        ("nonsense", "not a lock"),
        ('{"mtime": "now", "excluded_paths": []}', "mtime is 'now'"),
    ):
        lock.write_text(content)
        assert deb_layer.main(_flags(tmp_path, lock, [tmp_path / "x.deb"])) == 1
        assert f"{lock}: {cause}" in capsys.readouterr().err


def test_a_malformed_md5sums_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deb = write_deb(tmp_path, "x", files={"md5sums": b"abc  usr/bin/x\n"})
    assert "md5sums: 'abc  usr/bin/x' is not" in _error(tmp_path, capsys, [deb])
