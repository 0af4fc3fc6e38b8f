"""Tests of tools/bazel_root/build.py: a small root, built from a mirror on loopback."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.archive.debs_for_test import TarMember, directory, write_deb
from tools.bazel_root import download
from tools.bazel_root.build import build_root
from tools.bazel_root.lockfile import RootPackage
from tools.bazel_root.mirror_for_test import Mirror, mirror
from tools.cli import ToolError

REPOSITORY = Path(__file__).resolve().parents[2]

# What finish() touches, spread over two packages.
PACKAGES = {
    "tools": [
        TarMember("./usr/bin/mawk", b"mawk", mode=0o755),
        TarMember("./usr/bin/which.debianutils", b"which", mode=0o755),
        directory("./usr/lib/jvm/java-21-openjdk-amd64/"),
    ],
    "settings": [
        TarMember("./etc/bazel/bazelrc", b"startup --of_debian\n"),
        TarMember("./etc/services", b"http 80/tcp\n"),
        TarMember("./usr/share/bazel/build-label.txt", b"7.7.1\n"),
        directory("./usr/share/ca-certificates/mozilla/"),
    ],
}

# Builds in a process of its own, so that it can be killed.
PROGRAM = """
import json, sys
from pathlib import Path
from tools.bazel_root.build import build_root
from tools.bazel_root.lockfile import RootPackage
target, cache, url, packages = sys.argv[1:]
packages = tuple(RootPackage(**package) for package in json.loads(packages))
build_root(Path(target), cache=Path(cache), packages=packages, arch="amd64", mirrors=[url])
"""


@dataclass
class Bench:
    """A mirror with packages and an empty cache."""

    server: Mirror
    cache: Path
    packages: tuple[RootPackage, ...]

    @property
    def target(self) -> Path:
        return self.cache / "roots" / "key"

    def build(self) -> None:
        build_root(
            self.target,
            cache=self.cache,
            packages=self.packages,
            arch="amd64",
            mirrors=[self.server.url],
        )

    def start(self) -> subprocess.Popen[bytes]:
        packages = json.dumps([vars(package) for package in self.packages])
        arguments = [str(self.target), str(self.cache), self.server.url, packages]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.PIPE,
        )

    def roots(self) -> list[str]:
        return sorted(os.listdir(self.cache / "roots"))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(download, "_RETRY_DELAY", 0.0)
    served = tmp_path / "served"
    served.mkdir()
    packages = []
    for name, members in PACKAGES.items():
        path = write_deb(served, name, members)
        content = path.read_bytes()
        packages.append(
            RootPackage(name, "1.0", path.name, len(content), hashlib.sha256(content).hexdigest())
        )
    with mirror(served) as server:
        yield Bench(server, tmp_path / "cache", tuple(packages))


def test_a_root_has_its_links_and_only_its_own_settings(bench: Bench) -> None:
    bench.build()
    usr = bench.target / "usr"
    assert sorted(os.listdir(bench.target)) == ["bin", "lib", "lib64", "mnt", "sbin", "usr"]
    assert (usr / "bin/awk").read_bytes() == b"mawk"
    assert (usr / "bin/which").read_bytes() == b"which"
    assert (usr / "lib/jvm/default-java").is_dir()
    assert os.listdir(usr / "etc") == ["services"]
    assert (usr / "local").is_dir()
    assert (usr / "share/bazel/libzstd-jni.so").is_symlink()


def test_bazels_server_finds_its_version(bench: Bench) -> None:
    bench.build()
    data = bench.target / "usr/share/bazel/build-data/build-data.properties"
    assert data.read_text() == "build.label=7.7.1\n"


def test_a_root_that_is_there_is_not_built_again(bench: Bench) -> None:
    bench.target.mkdir(parents=True)
    bench.build()
    assert bench.server.requests == []


def test_another_root_uses_the_downloads_of_the_first(bench: Bench) -> None:
    bench.build()
    bench.target.rename(bench.target.with_name("old"))
    bench.build()
    assert len(bench.server.requests) == len(bench.packages)


def test_a_failed_build_leaves_no_root_and_the_next_one_succeeds(bench: Bench) -> None:
    bench.server.change = lambda path, content: b"X" + content[1:] if "tools" in path else content
    with pytest.raises(ToolError, match=r"tools 1\.0: no mirror has the file that the lock pins"):
        bench.build()
    assert not bench.target.exists()
    bench.server.change = lambda path, content: content
    bench.build()
    assert bench.roots() == ["key"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_leaves_nothing_that_is_reused(bench: Bench, number: signal.Signals) -> None:
    bench.server.gate = threading.Event()
    process = bench.start()
    wait_until(lambda: len(bench.server.requests) > 0)
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.wait()
    bench.server.gate.set()  # an interrupted one may wait for its downloads; bazelw does not
    process.communicate()
    assert process.returncode != 0
    assert not bench.target.exists()
    bench.server.gate = None
    bench.build()
    assert bench.roots() == ["key"]


def test_two_builds_at_once_share_the_work_and_both_succeed(bench: Bench) -> None:
    bench.server.gate = threading.Event()
    first, second = bench.start(), bench.start()
    wait_until(lambda: len(bench.server.requests) == len(bench.packages))
    time.sleep(0.2)  # time for the other one to come to the lock
    bench.server.gate.set()
    errors = [process.communicate()[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], errors
    assert len(bench.server.requests) == len(bench.packages)
    assert bench.roots() == ["key"]
    assert sum(b"waiting for another bazelw" in error for error in errors) == 1


def test_roots_and_downloads_that_were_long_unused_go(bench: Bench) -> None:
    old, recent = bench.cache / "roots" / "old", bench.cache / "roots" / "recent"
    for path in (old, recent):
        path.mkdir(parents=True)
    stale = bench.cache / "debs" / "0.deb"
    stale.parent.mkdir()
    stale.touch()
    for path in (old, stale):
        os.utime(path, (0, 0))
    bench.build()
    assert bench.roots() == ["key", "recent"]
    assert not stale.exists()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.02)
