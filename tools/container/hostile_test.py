"""Images that mean harm, from their bytes to their processes: reported, harmless outside."""

from __future__ import annotations

import contextlib
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tools.archive.tar_stream import LayerError
from tools.cli import ToolError
from tools.container.config import User, image_user
from tools.container.containers_for_test import ENV, children, sh
from tools.container.namespace import PID_MAX_MINIMUM
from tools.container.plan import Spec
from tools.container.run import Container, ContainerError
from tools.image.cache import Cache, Rootfs
from tools.image.images_for_test import (
    Member,
    TestLayer,
    hard_link,
    link,
    program_layer,
    tar_bytes,
    write_layer,
)
from tools.image.unpack import Limits, unpack

APP = User(1000, 1000)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TestLayer:
    """The harmless layer below all others."""
    return write_layer(tmp_path_factory.mktemp("base"), tar_bytes(program_layer()))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def rootfs(base: TestLayer, cache: Cache) -> Iterator[Rootfs]:
    with cache.rootfs([base]) as found:
        yield found


@pytest.fixture(params=["overlay", "copy"])
def spec(rootfs: Rootfs, request: pytest.FixtureRequest) -> Spec:
    return Spec(rootfs=rootfs, user=APP, overlay=request.param == "overlay")


# The image's bytes.


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ([Member("/tmp/evil")], "the name '/tmp/evil' is absolute"),
        ([Member("a/../../evil")], "climbs out with '..'"),
        ([hard_link("x", "../secret")], "climbs out with '..'"),
        ([hard_link("x", "/etc/shadow")], "is absolute"),
        ([link("l", "/etc"), hard_link("x", "l/shadow")], "which does not exist in the image"),
        ([Member("sparse", kind=tarfile.GNUTYPE_SPARSE)], "unsupported type b'S'"),
    ],
)
def test_an_image_that_climbs_out_is_refused_and_leaves_nothing(
    tmp_path: Path, members: list[Member], cause: str
) -> None:
    (tmp_path / "secret").write_text("mine")
    layer = write_layer(tmp_path, tar_bytes(members))
    before = sorted([*os.listdir(tmp_path), "cache"])
    with pytest.raises(LayerError) as caught, Cache(tmp_path / "cache").rootfs([layer]):
        pass
    assert cause in str(caught.value)
    assert layer.digest in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    assert (tmp_path / "secret").read_text() == "mine"
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("target", ["../..", "x/../../.."])
def test_a_link_above_the_root_leads_to_the_root(tmp_path: Path, target: str) -> None:
    layer = write_layer(tmp_path, tar_bytes([link("out", target), Member("out/evil")]))
    before = sorted([*os.listdir(tmp_path), "cache"])
    with Cache(tmp_path / "cache").rootfs([layer]) as rootfs:
        assert (rootfs.path / "evil").is_file()
    assert sorted(os.listdir(tmp_path)) == before


def test_ten_gigabytes_of_zeros_are_refused_beyond_the_limit_before_they_are_read(
    tmp_path: Path,
) -> None:
    info = tarfile.TarInfo("zeros")
    info.size = 10 << 30
    layer = write_layer(tmp_path, info.tobuf() + bytes(1 << 20))
    started = time.monotonic()
    with pytest.raises(LayerError, match=f"unpacks to more than {8 << 30} bytes"):
        unpack([layer], tmp_path / "root", limits=Limits(bytes=8 << 30))
    assert time.monotonic() - started < 5


def test_zeros_within_the_limit_take_no_room_on_disk(tmp_path: Path) -> None:
    content = bytes(64 << 20) + b"end" + bytes(5 << 20)
    layer = write_layer(tmp_path, tar_bytes([Member("zeros", content), Member("empty")]))
    (tmp_path / "root").mkdir()
    unpack([layer], tmp_path / "root")
    found = (tmp_path / "root/zeros").stat()
    assert found.st_size == len(content)
    assert found.st_blocks * 512 < 4 << 20
    assert (tmp_path / "root/zeros").read_bytes() == content
    assert (tmp_path / "root/empty").read_bytes() == b""


@pytest.mark.parametrize("place", ["proc", "dev", "tmp", "etc", "etc/hosts", "bin"])
@pytest.mark.parametrize("kind", ["file", "link out", "link to the host", "loop", "fifo"])
def test_hostile_mount_points_neither_escape_nor_break_the_caller(
    tmp_path: Path, base: TestLayer, cache: Cache, place: str, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    members = {
        "file": Member(place, b"x"),
        "link out": link(place, "../../../../../../.."),
        "link to the host": link(place, str(secret)),
        "loop": link(place, place.rpartition("/")[2]),
        "fifo": Member(place, kind=tarfile.FIFOTYPE),
    }
    marker = f".wh.{place}" if "/" not in place else "etc/.wh.hosts"
    layer = write_layer(tmp_path, tar_bytes([Member(marker), members[kind]]))
    started = time.monotonic()
    # It starts, or the error is one that callers report.
    with (
        contextlib.suppress(ToolError),
        cache.rootfs([base, layer], keep_prefix=True) as rootfs,
    ):
        spec = Spec(rootfs=rootfs, user=image_user(rootfs, "1000:1000"))
        assert sh(spec, f"echo up; echo x > {secret}/evil").stdout == b"up\n"
    assert os.listdir(secret) == []
    assert time.monotonic() - started < 30


# The image's processes.


def test_a_link_to_the_host_leads_nowhere(tmp_path: Path, base: TestLayer, cache: Cache) -> None:
    (tmp_path / "secret").write_text("mine")
    doors = [link("door", str(tmp_path / "secret")), link("up", "../" * 30 + "etc/hostname")]
    layer = write_layer(tmp_path, tar_bytes(doors))
    with cache.rootfs([base, layer], keep_prefix=True) as rootfs:
        spec = Spec(rootfs=rootfs, user=APP, hostname="inside")
        result = sh(spec, f"cat /door {tmp_path}/secret; cat /up; ls /proc/1/root /proc/1/cwd")
    assert result.stdout == b"inside\n"
    assert len(result.stderr.splitlines()) == 4


def test_what_is_written_in_memory_is_limited_and_a_sparse_file_takes_none(spec: Spec) -> None:
    limited = replace(spec, write_bytes=16 << 20)
    result = sh(limited, "truncate -s 10G /app/data/sparse && ls -s /app/data/sparse")
    assert result.stdout.split()[:1] == [b"0"]
    for place in ("/app/data/full", "/tmp/full"):
        result = sh(limited, f"cat /dev/zero > {place}")
        assert b"No space left on device" in result.stderr
    assert b"No space left on device" in sh(limited, "cat /dev/zero > /dev/shm/x").stderr


def test_a_fork_bomb_stops_at_the_limit_and_ends_with_the_container(spec: Spec) -> None:
    # Only what is built into the shell: it could not start anything else.
    script = """
        bomb() { while true; do bomb & done; }
        bomb 2>/tmp/errors &
        until test -s /tmp/errors; do :; done
        set -- /proc/[0-9]*
        read -r error </tmp/errors
        echo "$# $error"
    """
    with Container(replace(spec, max_processes=50)) as container:
        result = container.run(["sh", "-c", script], env=ENV, timeout=60)
        assert not result.timed_out
        # Of root of the machine the kernel counts nothing below its own minimum.
        limit = PID_MAX_MINIMUM if os.geteuid() == 0 else 50
        count, error = result.stdout.decode().split(" ", 1)
        assert int(count) <= limit
        assert "fork" in error
        before = time.monotonic()
    assert time.monotonic() - before < 30


def test_a_command_that_never_ends_and_ignores_every_signal_is_killed(spec: Spec) -> None:
    result = sh(spec, "trap '' INT TERM HUP QUIT; echo begun; while true; do :; done", timeout=1)
    assert (result.timed_out, result.exit_code) == (True, 128 + signal.SIGKILL)
    assert result.stdout == b"begun\n"
    assert result.seconds < 30


@pytest.mark.parametrize("stream", ["1", "2"])
def test_endless_output_is_cut_at_the_limit(spec: Spec, stream: str) -> None:
    with Container(spec) as container:
        result = container.run(
            ["sh", "-c", f"cat /dev/zero >&{stream}"], env=ENV, timeout=60, max_output=3_000_000
        )
    assert result.overflowed
    assert not result.timed_out
    assert max(len(result.stdout), len(result.stderr)) == 3_000_000


def test_output_beyond_the_limit_of_a_command_that_ended_is_reported_too(spec: Spec) -> None:
    with Container(spec) as container:
        result = container.run(
            ["head", "-c", "40000", "/dev/zero"], env=ENV, timeout=60, max_output=1000
        )
    assert result.overflowed
    assert len(result.stdout) == 1000


def _kill_first(spec: Spec, act: Callable[[Container], None]) -> None:
    """Kills PID 1 of a container from outside, as the kernel does when memory runs out."""
    with Container(spec) as container:
        first = children(os.getpid())[-1]
        killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        killer.start()
        try:
            act(container)
        finally:
            killer.join()


def test_the_end_of_pid_1_is_an_error_and_no_hang(spec: Spec) -> None:
    def wait(container: Container) -> None:
        container.run(["sleep", "1000"], env=ENV, timeout=60)

    with pytest.raises(ContainerError, match="first process ended unexpectedly"):
        _kill_first(spec, wait)
