"""Control groups: real ones where this machine lets the test make them, none where it does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tools.container.cgroup import _find, _mounts, make_group
from tools.container.config import User
from tools.container.containers_for_test import ENV
from tools.container.plan import Spec
from tools.container.run import Container
from tools.image.cache import Cache
from tools.image.images_for_test import program_layer, write_image


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spec]:
    folder = tmp_path_factory.mktemp("image")
    image = write_image(folder / "layout", [program_layer()], {})
    with Cache(folder / "cache").rootfs(image.layers) as rootfs:
        yield Spec(rootfs=rootfs, user=User(1000, 1000))


@pytest.fixture
def limits() -> frozenset[str]:
    """What groups can limit here; in Bazel's sandbox nothing."""
    group = make_group(memory_bytes=1 << 30, max_processes=100)
    if group is None:
        return frozenset()
    group.remove()
    return group.limits


def test_all_processes_together_have_the_memory_where_groups_can_be_made(
    spec: Spec, limits: frozenset[str]
) -> None:
    # Two files of 40 MB in memory: too much for the group, though no process has so much.
    script = "head -c 40000000 /dev/zero > /tmp/a; head -c 40000000 /dev/zero > /tmp/b; echo $?"
    with Container(replace(spec, memory_bytes=64 << 20)) as container:
        result = container.run(["sh", "-c", script], env=ENV, timeout=60)
    if "memory" in limits:
        assert 128 + signal.SIGKILL in (result.exit_code, *map(int, result.stdout.split()))
    else:
        assert result.stdout == b"0\n"


def test_root_too_is_limited_below_the_kernels_minimum_where_groups_can_be_made(
    spec: Spec, limits: frozenset[str]
) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 9 & done; echo started"
    with Container(replace(spec, max_processes=8)) as container:
        result = container.run(["sh", "-c", script], env=ENV, timeout=60)
    limited = "pids" in limits or os.geteuid() != 0
    assert (b"fork" in result.stderr) == limited
    assert (result.stdout == b"started\n") != limited


def test_groups_are_gone_with_their_container(spec: Spec) -> None:
    with Container(spec) as container:
        group = container._group
        assert container.run(["true"], env=ENV, timeout=10).exit_code == 0
    assert group is None or not any(directory.exists() for directory in group.directories)


MOUNTINFO = """\
30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
33 30 0:29 /docker/abc /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
"""


def test_groups_are_found_where_they_are_mounted() -> None:
    mounts = list(_mounts(MOUNTINFO))
    assert _find(mounts, "memory", "/docker/abc/x") == Path("/sys/fs/cgroup/memory/x")
    assert _find(mounts, "memory", "/other") is None
    assert _find(mounts, "pids", "/") is None
    assert _find(mounts, "", "/user.slice") == Path("/sys/fs/cgroup/unified/user.slice")
