"""Layers read and unpacked, held against a simple model and against every damage."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tools.archive.tar_stream import LayerError, TarStream
from tools.image.images_for_test import Member, directory, link, tar_bytes, write_layer
from tools.image.tree import Tree
from tools.image.unpack import scan, unpack

# Few names, so that layers meet.
NAMES = st.sampled_from(["a", "b", "c"])
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o4755])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
Parts = tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """What the model knows of a path."""

    kind: str
    mode: int
    content: str = ""


@dataclass(frozen=True)
class Layer:
    """A layer as its author means it: items with all their parents, and what it hides below."""

    items: dict[Parts, Item]
    hidden: frozenset[Parts] = frozenset()
    opaque: frozenset[Parts] = frozenset()
    order: tuple[int, ...] = field(default=())

    def members(self) -> list[Member]:
        """The archive's members: parents first, the markers anywhere in their directory."""
        found = [self._member(path, item) for path, item in sorted(self.items.items())]
        markers = [(*path[:-1], f".wh.{path[-1]}") for path in sorted(self.hidden)]
        markers += [(*path, ".wh..wh..opq") for path in sorted(self.opaque)]
        for number, path in enumerate(markers):
            names = [member.name for member in found]
            first = names.index("/".join(path[:-1])) + 1 if len(path) > 1 else 0
            where = self.order[number % len(self.order)] if self.order else 0
            found.insert(first + where % (len(found) + 1 - first), Member("/".join(path)))
        return found

    @staticmethod
    def _member(path: Parts, item: Item) -> Member:
        name = "/".join(path)
        if item.kind == "dir":
            return directory(name, item.mode, 1, 2)
        if item.kind == "symlink":
            return link(name, item.content)
        return Member(name, item.content.encode(), item.mode, 3, 4)


@st.composite
def one_layer(draw: st.DrawFn) -> Layer:
    items: dict[Parts, Item] = {}
    for path in draw(st.lists(PATHS, max_size=5)):
        above = [path[:depth] for depth in range(1, len(path))]
        if any(items.get(part, Item("dir", 0)).kind != "dir" for part in above):
            continue
        for part in above:
            items.setdefault(part, Item("dir", 0o755))
        if path in items:
            continue
        kind = draw(st.sampled_from(["file", "dir", "symlink"]))
        mode = 0o777 if kind == "symlink" else draw(MODES) | (0o700 if kind == "dir" else 0)
        content = draw(st.sampled_from(["x", "yy", "../b", "/a"])) if kind != "dir" else ""
        items[path] = Item(kind, mode, content)
    folders = {path for path, item in items.items() if item.kind == "dir"}
    # A marker lies in a directory that the layer has, or at the top.
    hidden = draw(st.frozensets(PATHS, max_size=3))
    return Layer(
        items,
        frozenset(path for path in hidden if len(path) == 1 or path[:-1] in folders),
        draw(st.frozensets(st.sampled_from(sorted(folders)), max_size=2)) if folders else
        frozenset(),
        tuple(draw(st.lists(st.integers(0, 20), max_size=3))),
    )  # fmt: skip


def merged(layers: list[Layer]) -> dict[Parts, Item]:
    """The specification in a few lines: hide, then lay on top."""
    found: dict[Parts, Item] = {}
    for layer in layers:
        for path in layer.hidden:
            found = {p: item for p, item in found.items() if p[: len(path)] != path}
        for path in layer.opaque:
            found = {p: i for p, i in found.items() if p[: len(path)] != path or p == path}
        for path, item in sorted(layer.items.items()):
            old = found.get(path)
            if old is not None and not (old.kind == "dir" and item.kind == "dir"):
                found = {p: i for p, i in found.items() if p[: len(path)] != path}
            found[path] = item
    return found


def on_disk(root: Path) -> dict[Parts, Item]:
    found = {}
    for path in root.rglob("*"):
        info = path.lstat()
        mode = stat.S_IMODE(info.st_mode)
        if path.is_symlink():
            item = Item("symlink", 0o777, os.readlink(path))
        elif path.is_dir():
            item = Item("dir", mode)
        else:
            item = Item("file", mode, path.read_text())
        found[path.relative_to(root).parts] = item
    return found


def without_set_id(items: dict[Parts, Item]) -> dict[Parts, Item]:
    return {
        p: Item(i.kind, i.mode & (0o1777 if i.kind == "dir" else 0o777), i.content)
        for p, i in items.items()
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(one_layer(), min_size=1, max_size=4))
@example(
    [
        Layer({("a",): Item("dir", 0o755), ("a", "b"): Item("file", 0o644, "x")}),
        Layer(
            {("a",): Item("dir", 0o700), ("a", "c"): Item("file", 0o644, "x")},
            hidden=frozenset({("a",)}), order=(9,),
        ),
    ]
)  # fmt: skip
def test_unpacked_layers_are_what_the_specification_says(layers: list[Layer]) -> None:
    expected = merged(layers)
    with tempfile.TemporaryDirectory() as folder:
        blobs, root = Path(folder, "blobs"), Path(folder, "root")
        blobs.mkdir()
        root.mkdir()
        written = [write_layer(blobs, tar_bytes(layer.members())) for layer in layers]
        tree = unpack(written, root)
        # The owner can always enter a directory on disk; the tree has the header's mode.
        assert on_disk(root) == without_set_id(expected)
        entries = {tuple(path.split("/")[1:]): e for path, e in tree.entries() if path != "/"}
        assert {p: (e.kind, e.mode) for p, e in entries.items()} == {
            p: (item.kind, item.mode) for p, item in expected.items()
        }
        for entry in entries.values():
            owners = {"dir": (1, 2), "file": (3, 4), "symlink": (0, 0)}
            assert (
                (entry.uid, entry.gid) == owners[entry.kind]
                or entry.implied
                or (entry.kind == "dir")
            )
        assert list(scan(written).entries()) == list(tree.entries())
        assert list(Tree.from_json(tree.to_json()).entries()) == list(tree.entries())


TEXT = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", ".."))


@st.composite
def archive(draw: st.DrawFn) -> tuple[bytes, list[tarfile.TarInfo]]:
    infos = []
    buffer = io.BytesIO()
    form = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as tar:
        for _ in range(draw(st.integers(0, 4))):
            name = "/".join(draw(st.lists(TEXT, min_size=1, max_size=5)))
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = draw(st.integers(0, 0o7777)), draw(st.integers(0, 2**33))
            info.uid, info.gid = draw(st.integers(0, 2**32)), draw(st.integers(0, 2**22))
            if draw(st.booleans()):
                info.type, info.linkname = tarfile.SYMTYPE, draw(TEXT)
                tar.addfile(info)
            else:
                data = draw(st.binary(max_size=1500))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                info.pax_headers = {"content": hashlib.sha256(data).hexdigest()}
            infos.append(info)
    return buffer.getvalue(), infos


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(archive(), st.integers(1, 3000))
def test_archives_are_read_as_they_were_written_however_they_arrive(
    written: tuple[bytes, list[tarfile.TarInfo]], size: int
) -> None:
    data, infos = written
    stream = TarStream(pieces(data, size), source="layer")
    for header, info in zip(stream, infos, strict=True):
        assert (header.name, header.mode, header.uid, header.gid, header.mtime) == (
            info.name, info.mode, info.uid, info.gid, info.mtime,
        )  # fmt: skip
        if info.type == tarfile.SYMTYPE:
            assert (header.kind, header.linkname) == ("symlink", info.linkname)
        else:
            content = hashlib.sha256(stream.read()).hexdigest()
            assert (header.kind, content) == ("file", info.pax_headers["content"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    archive(),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    st.integers(0, 1 << 16),
)
def test_a_damaged_archive_is_refused_or_read_and_nothing_else_happens(
    written: tuple[bytes, list[tarfile.TarInfo]], changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(written[0])
    for where, value in changes:
        data[where % len(data)] = value
    stream = TarStream(pieces(bytes(data[: length % len(data)]), 1000), source="layer")
    read = 0
    with contextlib.suppress(LayerError):
        for _ in stream:
            read += len(stream.read())
    assert read <= len(data)
