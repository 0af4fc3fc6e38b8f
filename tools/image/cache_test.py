"""The cache of unpacked images: shared, interrupted, concurrent, full."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.archive.tar_stream import LayerError
from tools.image import cache as cache_module
from tools.image.cache import Cache, default_root, shared_root
from tools.image.images_for_test import (
    Member,
    TestLayer,
    directory,
    link,
    tar_bytes,
    write_layer,
)
from tools.image.scratch import remove_tree, scratch_directory


def layer(tmp_path: Path, *members: Member) -> TestLayer:
    return write_layer(tmp_path, tar_bytes(members))


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name != "runs")


def test_layers_are_unpacked_once(tmp_path: Path) -> None:
    layers = [layer(tmp_path, Member("a", b"1"))]
    cache, calls = Cache(tmp_path / "cache"), []
    for _ in range(2):
        with cache.rootfs(layers, on_unpack=lambda: calls.append(1)) as rootfs:
            assert (rootfs.path / "a").read_bytes() == b"1"
            assert rootfs.tree.lookup("/a") is not None
    assert calls == [1]


def test_existing_never_unpacks(tmp_path: Path) -> None:
    layers = [layer(tmp_path, Member("a", b"1"))]
    cache = Cache(tmp_path / "cache")
    with cache.existing(layers) as rootfs:
        assert rootfs is None
    assert not (tmp_path / "cache").exists()
    with cache.rootfs(layers):
        pass
    with cache.existing(layers) as rootfs:
        assert rootfs is not None
        assert (rootfs.path / "a").read_bytes() == b"1"
    (entry,) = entries(tmp_path / "cache")
    (tmp_path / "cache" / entry / "rootfs" / "a").write_bytes(b"22")
    with cache.existing(layers) as rootfs:
        assert rootfs is None


def test_mount_points_are_there_but_not_in_the_tree(tmp_path: Path) -> None:
    with Cache(tmp_path / "cache").rootfs([layer(tmp_path, Member("a"))]) as rootfs:
        assert (rootfs.path / "proc").is_dir()
        assert rootfs.tree.lookup("/proc") is None


def test_a_kept_prefix_shares_its_files_and_is_not_changed_by_what_comes_above(
    tmp_path: Path,
) -> None:
    base = layer(tmp_path, directory("d"), Member("d/a", b"1"), Member("b", b"1"))
    top = layer(tmp_path, Member("d/a", b"2"), Member(".wh.b"))
    cache = Cache(tmp_path / "cache")
    with (
        cache.rootfs([base, top], keep_prefix=True) as upper,
        cache.rootfs([base], on_unpack=lambda: pytest.fail("the prefix was not kept")) as lower,
    ):
        assert (upper.path / "d/a").read_bytes() == b"2"
        assert not (upper.path / "b").exists()
        assert (lower.path / "d/a").read_bytes() == b"1"
        assert (lower.path / "b").read_bytes() == b"1"
    other = layer(tmp_path, Member("d/a", b"3"), Member("dev", b"a file"), link("proc", "d"))
    with cache.rootfs([base, other]) as changed, cache.rootfs([base]) as lower:
        assert (changed.path / "d/a").read_bytes() == b"3"
        assert (changed.path / "b").samefile(lower.path / "b")


def test_small_layers_below_the_last_are_unpacked_with_it_and_large_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SMALL_LAYER", 4000)
    large = [layer(tmp_path, Member(name, os.urandom(5000))) for name in "ab"]
    small = [layer(tmp_path, Member(name, b"1")) for name in "cd"]
    cache = Cache(tmp_path / "cache")
    with cache.rootfs([*large, *small], keep_prefix=True) as rootfs:
        assert sorted(path.name for path in rootfs.path.iterdir() if path.is_file()) == list("abcd")
    changed = layer(tmp_path, Member("c", b"2"))
    with (
        cache.rootfs(large, on_unpack=lambda: pytest.fail("the prefix was not kept")) as lower,
        cache.rootfs([*large, changed, small[1]]) as upper,
    ):
        assert (upper.path / "a").samefile(lower.path / "a")
        assert (upper.path / "c").read_bytes() == b"2"
        assert not (lower.path / "c").exists()


def test_what_an_interrupted_process_left_is_neither_used_nor_kept(tmp_path: Path) -> None:
    layers = [layer(tmp_path, Member("a", b"1"))]
    root = tmp_path / "cache"
    with Cache(root).rootfs(layers):
        pass
    (name,) = entries(root)
    (root / name).rename(root / f"{name}.tmp")
    (root / f"{name}.tmp" / "rootfs" / "a").write_bytes(b"half")
    with Cache(root).rootfs(layers) as rootfs:
        assert (rootfs.path / "a").read_bytes() == b"1"
    assert entries(root) == [name]


def test_a_damaged_layer_leaves_nothing_behind(tmp_path: Path) -> None:
    good = layer(tmp_path, Member("a", b"1"))
    good.path.write_bytes(b"\x1f\x8b broken")
    with (
        pytest.raises(LayerError, match="gzip data is corrupt"),
        Cache(tmp_path / "cache").rootfs([good]),
    ):
        pass
    assert entries(tmp_path / "cache") == []


def _unpack_and_read(root: Path, layers: list[TestLayer], results: object) -> None:
    calls: list[int] = []
    with Cache(root).rootfs(layers, on_unpack=lambda: calls.append(1)) as rootfs:
        content = (rootfs.path / "big").read_bytes()
        results.put((len(content), len(list(rootfs.tree.entries()))))  # type: ignore[attr-defined]


def test_processes_that_start_together_all_get_the_whole_image(tmp_path: Path) -> None:
    layers = [layer(tmp_path, Member("big", os.urandom(8 << 20)), *map(Member, "abcdefgh"))]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (tmp_path / "cache", layers, results)
    workers = [context.Process(target=_unpack_and_read, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert found == [(8 << 20, 10)] * 3
    assert len(entries(tmp_path / "cache")) == 1


def test_a_process_killed_while_unpacking_does_not_block_or_spoil_the_next(
    tmp_path: Path,
) -> None:
    layers = [layer(tmp_path, *(Member(f"f{n}", os.urandom(1 << 20)) for n in range(60)))]
    root = tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=_hold, args=(root, layers))
    worker.start()
    while not list(root.glob("*.tmp/rootfs/f*")):
        time.sleep(0.002)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with Cache(root).rootfs(layers) as rootfs:
        assert sum(path.stat().st_size for path in rootfs.path.glob("f*")) == 60 << 20
    assert len(entries(root)) == 1


def _hold(root: Path, layers: list[TestLayer]) -> None:
    with Cache(root).rootfs(layers):
        time.sleep(60)


def test_unwritable_disk_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LayerError, match="cannot hold the unpacked image: Not a directory"),
        Cache(tmp_path / "file" / "cache").rootfs([layer(tmp_path, Member("a"))]),
    ):
        pass


def test_unused_entries_go_and_entries_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "KEEP_ENTRIES", 2)
    cache = Cache(tmp_path / "cache")
    old = [layer(tmp_path, Member("old"))]
    with cache.rootfs(old) as held:
        for name in "abc":
            with cache.rootfs([layer(tmp_path, Member(name))]):
                os.utime(held.path.parent, (0, 0))
        assert (held.path / "old").exists()
        assert len(entries(tmp_path / "cache")) == 3
    with cache.rootfs([layer(tmp_path, Member("d"))]):
        assert not held.path.exists()


def test_what_killed_processes_left_goes_and_what_is_being_built_stays(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    dead, alive = "d" * 64, "a" * 64
    for key in (dead, alive):
        (root / f"{key}.tmp" / "rootfs").mkdir(parents=True)
        (root / f"{key}.lock").touch()
    (root / "runs").mkdir()
    with (root / f"{alive}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Cache(root).rootfs([layer(tmp_path, Member("a"))]):
            pass
    assert sorted(path.name for path in root.iterdir() if path.name[0] in "dr") == ["runs"]
    assert (root / f"{alive}.tmp").exists()


def test_the_cache_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEEP_BYTES", 2_500_000)
    cache = Cache(tmp_path / "cache")
    for number, name in enumerate("abcd"):
        with cache.rootfs([layer(tmp_path, Member(name, os.urandom(1_000_000)))]) as rootfs:
            pass
        os.utime(rootfs.path.parent, (time.time() + number - 10,) * 2)
    assert len(entries(tmp_path / "cache")) == 2
    assert (rootfs.path / "d").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / "d/a").write_bytes(b"2"),
        lambda root: (root / "d/a").chmod(0o600),
        lambda root: (root / "d/a").unlink(),
        lambda root: (root / "d/new").touch(),
        lambda root: (root / "link").unlink() or (root / "link").symlink_to("b"),
        lambda root: (root.parent / "tree.json").write_text("[]"),
        lambda root: (root.parent / "seal.json").write_text("{"),
        lambda root: (root.parent / "seal.json").unlink(),
    ],
)
def test_an_entry_that_was_changed_is_unpacked_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    layers = [layer(tmp_path, Member("d/a", b"1"), link("link", "a"))]
    cache = Cache(tmp_path / "cache")
    with cache.rootfs(layers) as rootfs:
        pass
    time.sleep(0.02)  # The time of a file is no finer than the kernel's tick.
    damage(rootfs.path)
    calls: list[int] = []
    for _ in range(2):
        with cache.rootfs(layers, on_unpack=lambda: calls.append(1)) as again:
            assert (again.path / "d/a").read_bytes() == b"1"
            assert (again.path / "d/a").stat().st_mode & 0o777 == 0o644
            assert os.listdir(again.path / "d") == ["a"]
            assert os.readlink(again.path / "link") == "a"
            assert again.tree.lookup("/d/a") is not None
    assert calls == [1]


def test_tests_share_a_cache_only_where_nobody_else_can_write(tmp_path: Path) -> None:
    assert shared_root({}) is None
    assert shared_root({"ROOTFS_CACHE": str(tmp_path / "none")}) is None
    (tmp_path / "mine").mkdir(mode=0o700)
    environ = {"ROOTFS_CACHE": str(tmp_path / "mine")}
    assert shared_root(environ) == tmp_path / "mine"
    (tmp_path / "mine").chmod(0o777)
    assert shared_root(environ) is None
    if os.geteuid() != 0:  # Root may write everywhere.
        (tmp_path / "mine").chmod(0o500)
        assert shared_root(environ) is None
        assert shared_root({"ROOTFS_CACHE": "/usr"}) is None


def test_scratch_directories_of_killed_runs_are_removed_and_of_living_ones_kept(
    tmp_path: Path,
) -> None:
    with scratch_directory(tmp_path) as mine:
        dead = tmp_path / "runs" / "1-dead"
        (dead / "work").mkdir(parents=True)
        (dead / "work").chmod(0)
        dead.with_suffix(".lock").touch()
        with scratch_directory(tmp_path):
            assert mine.exists()
        assert not dead.exists()
    assert list((tmp_path / "runs").iterdir()) == []


def test_deleting_never_follows_links(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir(mode=0o500)
    doomed = tmp_path / "doomed"
    (doomed / "closed").mkdir(parents=True)
    (doomed / "link").symlink_to(keep)
    (doomed / "closed" / "link").symlink_to(keep)
    (doomed / "closed").chmod(0o100)
    remove_tree(doomed)
    assert not doomed.exists()
    assert keep.stat().st_mode & 0o777 == 0o500


def test_the_cache_lies_where_xdg_says() -> None:
    assert default_root({"XDG_CACHE_HOME": "/x"}) == Path("/x/pinned_image/rootfs")
    assert default_root({"HOME": "/h"}) == Path("/h/.cache/pinned_image/rootfs")
