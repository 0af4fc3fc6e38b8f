"""Whatever is put into a layer, other readers find it there again, and the order never matters."""

from __future__ import annotations

import io
import os
import random
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.archive import file_layer
from tools.archive.layer import Entry, LayerWriter, tar_header
from tools.archive.tar_stream import TarStream
from tools.cli import ToolError

# Any text but control characters, what is no UTF-8, separators, and names with a meaning.
_NAMES = st.text(
    st.characters(min_codepoint=32, blacklist_categories=("Cs", "Cc"), blacklist_characters="/"),
    min_size=1,
    max_size=60,
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
_PATHS = st.lists(_NAMES, min_size=1, max_size=8).map("/".join)


@dataclass(frozen=True)
class Thing:
    """An entry of any kind, before it is known where it goes."""

    kind: str
    mode: int
    uid: int
    gid: int
    data: bytes
    target: str


_THINGS = st.builds(
    Thing,
    kind=st.sampled_from(["file", "dir", "symlink", "hardlink"]),
    mode=st.integers(0, 0o777),
    # More than the seven octal digits of a ustar header hold.
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    data=st.binary(max_size=1500),
    target=_PATHS,
)


def _placed(things: dict[str, Thing]) -> dict[str, Thing]:
    """Those that can be together: nothing lies below what is no directory."""
    placed: dict[str, Thing] = {}
    for path, thing in sorted(things.items()):
        parents = {path[:end] for end, letter in enumerate(path) if letter == "/"}
        if all(placed[each].kind == "dir" for each in parents & placed.keys()):
            placed[path] = thing
    return {
        path: thing
        for path, thing in placed.items()
        if thing.kind == "dir" or not any(other.startswith(path + "/") for other in placed)
    }


def _layer(things: dict[str, Thing], order: list[str], first_file: str | None) -> LayerWriter:
    layer = LayerWriter(mtime=1_700_000_000)
    for path in order:
        thing = things[path]
        owner = {"uid": thing.uid, "gid": thing.gid}
        if thing.kind == "dir":
            layer.add_dir(path, mode=thing.mode, **owner)
        elif thing.kind == "symlink":
            layer.add_symlink(path, thing.target, **owner)
        elif thing.kind == "hardlink" and first_file is not None:
            layer.add_hardlink(path, first_file)
        else:
            layer.add_file(path, thing.data, mode=thing.mode, **owner)
    return layer


@given(things=st.dictionaries(_PATHS, _THINGS, max_size=12), seed=st.integers())
@settings(max_examples=40, deadline=None)
def test_two_readers_find_what_was_put_in_whatever_the_order(
    things: dict[str, Thing], seed: int
) -> None:
    things = _placed(things)
    files = [path for path, thing in things.items() if thing.kind == "file"]
    first_file = files[0] if files else None
    shuffled = list(things)
    random.Random(seed).shuffle(shuffled)
    with tempfile.TemporaryDirectory() as directory:
        outputs = []
        for number, order in enumerate((list(things), shuffled)):
            out = Path(directory) / f"{number}.tar"
            _layer(things, order, first_file).write(out, out.with_suffix(".json"), jobs=1)
            outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]
    with tarfile.open(fileobj=io.BytesIO(outputs[0])) as tar:
        members = {member.name: member for member in tar}
        assert list(members) == sorted(members, key=str.encode)
        for path, thing in things.items():
            member = members[path]
            real = thing
            if thing.kind in ("file", "hardlink"):
                if thing.kind == "hardlink" and first_file is not None:
                    real = things[first_file]
                content = tar.extractfile(member)
                assert content is not None
                assert content.read() == real.data
            elif thing.kind == "symlink":
                assert member.linkname == thing.target
            else:
                assert member.isdir()
            if thing.kind != "symlink":
                assert member.mode == real.mode
            assert (member.uid, member.gid, member.mtime) == (real.uid, real.gid, 1_700_000_000)
    # The reader that unpacks images has a parser of its own.
    found = [header.name.rstrip("/") for header in TarStream(iter([outputs[0]]), source="it")]
    assert found == list(members)


@pytest.mark.parametrize("length", [99, 100, 101, 155, 255, 256, 257, 1000, 4000])
@pytest.mark.parametrize("letter", ["a", "ő", "🦊"])
def test_names_of_any_length_come_back(length: int, letter: str) -> None:
    name = letter * (length // len(letter.encode()))
    entry = Entry(path=name, kind="symlink", mode=0o777, target=name[::-1] + "/x")
    header = tar_header(entry, size=0, mtime=0)
    with tarfile.open(fileobj=io.BytesIO(header + bytes(1024))) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.linkname) == (name, entry.target)
    (own,) = TarStream(iter([header + bytes(1024)]), source="it")
    assert (own.name, own.linkname) == (name, entry.target)


@pytest.mark.parametrize("size", [8 * 2**30 - 1, 8 * 2**30, 9 * 2**30, 2**45])
def test_a_header_holds_sizes_beyond_8_gib(size: int) -> None:
    header = tar_header(Entry(path="big", kind="file", mode=0o644), size=size, mtime=0)
    with tarfile.open(fileobj=io.BytesIO(header)) as tar:
        member = tar.next()
    assert member is not None
    assert member.size == size
    stream = iter(TarStream(iter([header]), source="it"))
    assert next(stream).size == size
    # Plain ustar as long as its eleven octal digits are enough.
    assert (len(header) == 512) == (size < 8 * 2**30)


def test_a_sparse_file_is_stored_as_what_it_reads_as(tmp_path: Path) -> None:
    dense, sparse = tmp_path / "dense", tmp_path / "sparse"
    content = bytes(3_000_000) + b"end"
    dense.write_bytes(content)
    with sparse.open("wb") as stream:
        stream.seek(3_000_000)
        stream.write(b"end")
    assert sparse.read_bytes() == content
    outputs = []
    for source in (dense, sparse):
        out = tmp_path / "out.tar.gz"
        files = {"/f": source}
        layer = file_layer.FileLayer(files=files, dirs=(), symlinks={}, modes={}, owners={})
        file_layer.compose(layer, mtime=0).write(out, tmp_path / "out.json")
        outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("kind", ["device", "pipe", "directory"])
def test_sources_that_are_not_regular_files_are_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "device":
        source = Path(os.devnull)
    elif kind == "pipe":
        os.mkfifo(source)
    else:
        source.mkdir()
    content = file_layer.FileLayer(files={"/f": source}, dirs=(), symlinks={}, modes={}, owners={})
    with pytest.raises(ToolError, match=f"/f: {source} is not a regular file"):
        file_layer.compose(content, mtime=0)
