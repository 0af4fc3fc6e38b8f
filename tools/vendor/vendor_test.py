"""Files of locks from a real mirror and a real index, by pip; and what they serve afterwards."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pip
import pytest

from tools.apt.lockfile import Lock, LockedPackage, encode
from tools.bazel_root.mirror_for_test import Mirror, mirror
from tools.vendor import vendor
from tools.wheels import fetch_wheels
from tools.wheels.lockfile import LockedWheel, render_lock
from tools.wheels.wheels_for_test import TinyWheel, write_index

_FILES = {
    "debian/pool/main/f/foo/foo_1.0+b1_amd64.deb": b"foo" * 999,
    "debian-security/pool/updates/main/b/bar/bar_2_all.deb": b"bar",
}
_WHEELS = [
    TinyWheel("pure"),
    TinyWheel("foreign", tag="cp311-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64"),
]


def locked(path: str, content: bytes) -> LockedPackage:
    archive, _, filename = path.partition("/")
    name, version, arch = Path(path).stem.split("_")
    return LockedPackage(
        name=name,
        arch=arch,
        version=version,
        archive=archive,
        filename=filename,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        source=name,
        depends=(),
    )


def debian_lock(*packages: LockedPackage) -> str:
    return encode(
        Lock(
            snapshot="20261120T000000Z",
            mtime=0,
            intent_sha256="",
            image_groups=(),
            groups={},
            packages=packages,
            excluded_packages={},
            excluded_versions={},
            excluded_paths=(),
        )
    )


class World:
    """A machine with mirrors, an index and locks; `run` is the command on it."""

    def __init__(self, path: Path, server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.folder = path / "mine"
        self.packages = [locked(name, content) for name, content in _FILES.items()]
        self._debian, self._python = path / "debian.lock.json", path / "requirements.txt"
        self._debian.write_text(debian_lock(*self.packages))
        monkeypatch.setenv("DEBIAN_MIRROR", f"{server.url}/debian")
        monkeypatch.setenv("PIP_INDEX_URL", write_index(_WHEELS, directory=path / "index"))
        monkeypatch.delenv("BUILD_WORKING_DIRECTORY", raising=False)
        # The permanent archive is asked last; here nobody may be.
        monkeypatch.setattr(vendor, "_SNAPSHOT", f"{server.url}/snapshot")
        self.wheels = [
            LockedWheel(
                name=wheel.name,
                version=wheel.version,
                extras=(),
                filename=wheel.filename,
                sha256=hashlib.sha256(
                    (path / "index/files" / wheel.filename).read_bytes()
                ).hexdigest(),
                via=("requirements.in",),
            )
            for wheel in _WHEELS
        ]
        self._python.write_text(render_lock(tuple(self.wheels), title="wheels", command="lock"))

    def lock(self, *packages: LockedPackage) -> None:
        self._debian.write_text(debian_lock(*packages))

    def run(self) -> int:
        locks = (f"--debian-lock={self._debian}", f"--python-lock={self._python}")
        return vendor.main([*locks, *locks, str(self.folder)])

    def sums(self) -> subprocess.CompletedProcess[str]:
        checker = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        return subprocess.run(checker, check=False, cwd=self.folder, capture_output=True, text=True)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, content in _FILES.items():
        (tmp_path / "served" / name).parent.mkdir(parents=True)
        (tmp_path / "served" / name).write_bytes(content)
    with mirror(tmp_path / "served") as server:
        for name in _FILES:  # asked for as the servers of some mirrors want it
            if "+" in name:
                shutil.copy(
                    tmp_path / "served" / name, tmp_path / "served" / name.replace("+", "%2B")
                )
        yield World(tmp_path, server, monkeypatch)


def test_every_file_is_there_with_its_hash_and_a_manifest(world: World) -> None:
    assert world.run() == 0
    for name, content in _FILES.items():
        assert (world.folder / name).read_bytes() == content
    checked = world.sums()
    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == len(_FILES) + len(_WHEELS)
    assert not (world.folder / ".partial").exists()


def test_second_run_asks_nobody_and_writes_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    before = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    world.server.requests.clear()
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    capsys.readouterr()
    assert world.run() == 0
    assert world.server.requests == []
    assert "4 of 4 files are in" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()} == before


def test_interrupted_run_is_continued_and_damage_is_mended(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    gone, damaged = (world.folder / name for name in _FILES)
    gone.unlink()
    damaged.write_bytes(b"other")
    world.server.requests.clear()
    assert world.run() == 0
    assert len(world.server.requests) == 2
    assert "bar_2_all.deb: has another hash than the lock" in capsys.readouterr().err
    assert world.sums().returncode == 0


def test_all_failures_are_told_at_once_and_what_came_stays(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.bazel_root.download._RETRY_DELAY", 0)
    wrong = [
        replace(package, sha256="0" * 64) if package.name == "bar" else package
        for package in world.packages
    ]
    absent = replace(wrong[0], name="absent", filename="pool/main/a/absent_1_amd64.deb")
    world.lock(*wrong, absent)
    assert world.run() == 1
    said = capsys.readouterr().err
    assert "absent 1.0+b1: no mirror has the file that the lock pins" in said
    assert "bar 2: no mirror has the file that the lock pins" in said
    assert "2 failed; what came stays in" in said
    assert (world.folder / "debian/pool/main/f/foo/foo_1.0+b1_amd64.deb").exists()
    assert not list(world.folder.glob("debian-security/**/*.deb"))
    assert not (world.folder / "SHA256SUMS").exists()


@pytest.mark.parametrize("filename", ["../../outside.deb", "/outside.deb"])
def test_lock_that_climbs_out_of_the_directory_is_refused(
    world: World, filename: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lock(replace(world.packages[0], filename=filename))
    assert world.run() == 1
    assert "outside a pool" in capsys.readouterr().err
    assert world.server.requests == []


def test_what_was_collected_is_itself_a_mirror_and_an_index(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run() == 0
    first, copied = world.folder, tmp_path / "again"
    world.folder = copied
    monkeypatch.setenv("DEBIAN_MIRROR", (first / "debian").as_uri())
    monkeypatch.setenv("PIP_INDEX_URL", (first / "simple").as_uri())
    world.server.requests.clear()
    assert world.run() == 0
    assert world.server.requests == []
    files = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert files == {path.relative_to(copied) for path in copied.rglob("*") if path.is_file()}
    assert world.sums().returncode == 0


def test_served_over_http_it_works_for_others(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run() == 0
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind=127.0.0.1"]
    with subprocess.Popen(command, cwd=world.folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().split(" port ")[1].split()[0]
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
            flags = [
                f"--wheel={wheel.name}=={wheel.version} {wheel.sha256} {wheel.filename}"
                for wheel in world.wheels
            ]
            folders = [f"--pip={Path(pip.__file__).parent.parent}", f"--output={tmp_path / 'out'}"]
            assert fetch_wheels.main([*flags, *folders]) == 0
        finally:
            server.terminate()
