"""Turns the layers of an image into a root file system directory and its tree, without root.

    tree = unpack(image.layers, Path("/some/empty/dir"))

Guarantee: nothing outside the given directory is created, changed or followed, whatever the
archives hold; a path is only ever built from components that this module itself made real
directories. Links that climb above the root lead to the root, as in a container. Absolute names,
`..`, hard links to nothing or to a directory and archives beyond the limits are refused with
LayerError.

What cannot or must not exist on disk is kept in the tree only: owners, set-id bits (the files
belong to the caller, and a set-id file of the caller's on the host would be a hole) and devices.
Source: OCI image-spec layer.md; POSIX.1-2001 pax.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from tools.archive.layer_stream import LayerBlob, open_layer
from tools.archive.tar_stream import ZEROS, Header, LayerError, TarStream
from tools.image.scratch import remove_tree
from tools.image.tree import OPAQUE, WHITEOUT, Entry, Tree, TreeError, split

T = TypeVar("T")
Parts = tuple[str, ...]
AHEAD = 2  # Layers being decompressed at a time.


@dataclass(frozen=True)
class Limits:
    """How much an image may hold before it is refused as a decompression bomb."""

    bytes: int = 16 << 30  # Uncompressed, all layers together.
    entries: int = 2_000_000


DEFAULT_LIMITS = Limits()


class _Sink:
    """Receives what changes; this one keeps nothing, which is all a scan needs."""

    def directory(self, parts: Parts, mode: int) -> None: ...
    def remove(self, parts: Parts) -> None: ...
    def symlink(self, parts: Parts, target: str) -> None: ...
    def hardlink(self, parts: Parts, target: Parts) -> None: ...
    def fifo(self, parts: Parts, mode: int) -> None: ...
    def file(self, parts: Parts, header: Header, stream: TarStream) -> None: ...


class _Disk(_Sink):
    """Writes below one directory that belongs to us alone."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    def _path(self, parts: Parts) -> str:
        return "/".join((self._root, *parts))

    def directory(self, parts: Parts, mode: int) -> None:
        # The owner keeps full access, or the cache could be neither extended nor deleted.
        mode = mode & 0o1777 | 0o700
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._path(parts), mode)
        os.chmod(self._path(parts), mode)  # mkdir's mode is subject to the umask.

    def remove(self, parts: Parts) -> None:
        path = self._path(parts)
        try:
            os.unlink(path)
        except IsADirectoryError:
            remove_tree(Path(path))
        except FileNotFoundError:
            pass  # Devices are in the tree only.

    def symlink(self, parts: Parts, target: str) -> None:
        os.symlink(target, self._path(parts))

    def hardlink(self, parts: Parts, target: Parts) -> None:
        os.link(self._path(target), self._path(parts), follow_symlinks=False)

    def fifo(self, parts: Parts, mode: int) -> None:
        os.mkfifo(self._path(parts), mode & 0o777)

    def file(self, parts: Parts, header: Header, stream: TarStream) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._path(parts), flags, 0o600)
        try:
            for piece in stream.body():
                if piece == ZEROS[: len(piece)]:
                    # A hole: gigabytes of zeros, which compress to nothing, fill no disk.
                    os.lseek(handle, len(piece), os.SEEK_CUR)
                    continue
                done = 0
                while done < len(piece):
                    done += os.write(handle, piece[done:])
            os.ftruncate(handle, header.size)
            os.fchmod(handle, header.mode & 0o777)
        finally:
            os.close(handle)


class _Collect(_Sink, Generic[T]):
    """Keeps what `read` makes of each regular file; None is nothing to keep."""

    def __init__(self, read: Callable[[str, Header, TarStream], T | None]) -> None:
        self.found: dict[str, T] = {}
        self._read = read

    def remove(self, parts: Parts) -> None:
        path = "/" + "/".join(parts)
        for name in [n for n in self.found if n == path or n.startswith(path + "/")]:
            del self.found[name]

    def hardlink(self, parts: Parts, target: Parts) -> None:
        value = self.found.get("/" + "/".join(target))
        if value is not None:
            self.found["/" + "/".join(parts)] = value

    def file(self, parts: Parts, header: Header, stream: TarStream) -> None:
        path = "/" + "/".join(parts)
        value = self._read(path, header, stream)
        if value is not None:
            self.found[path] = value


def unpack(
    layers: Sequence[LayerBlob],
    root: Path,
    *,
    tree: Tree | None = None,
    first: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> Tree:
    """Unpack `layers[first:]` into the directory `root` and return the tree.

    With `first`, `root` and `tree` must already hold the layers before it. Raise LayerError
    (a layer is damaged or hostile) and OSError (the disk is full or not writable).
    """
    return _apply(layers, _Disk(root), tree=tree or Tree(), first=first, limits=limits)


def scan(layers: Sequence[LayerBlob], *, limits: Limits = DEFAULT_LIMITS) -> Tree:
    """Return the tree alone, from the layers' headers, with nothing written to disk."""
    return _apply(layers, _Sink(), tree=Tree(), first=0, limits=limits)


def collect(
    layers: Sequence[LayerBlob],
    read: Callable[[str, Header, TarStream], T | None],
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Tree, Mapping[str, T]]:
    """Return the tree and what `read` makes of each regular file, in one pass.

    `read` gets the absolute path as the archives have it, links unresolved, and may read the
    stream's body; what it returns None for is not kept, nor what a later layer replaces.
    """
    found = _Collect(read)
    tree = _apply(layers, found, tree=Tree(), first=0, limits=limits)
    return tree, found.found


def read_files(
    layers: Sequence[LayerBlob],
    wanted: Callable[[str], bool],
    *,
    max_file_bytes: int = 256 << 20,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Tree, Mapping[str, bytes]]:
    """Return the tree and the content of the files that `wanted` selects, in one pass.

    `wanted` gets absolute paths as the archives have them, links unresolved.
    """

    def read(path: str, header: Header, stream: TarStream) -> bytes | None:
        if not wanted(path):
            return None
        if header.size > max_file_bytes:
            raise LayerError(
                f"{path} has {header.size} bytes; at most {max_file_bytes} can be searched"
            )
        return stream.read()

    return collect(layers, read, limits=limits)


def _apply(
    layers: Sequence[LayerBlob], sink: _Sink, *, tree: Tree, first: int, limits: Limits
) -> Tree:
    left_bytes, left_entries = limits.bytes, limits.entries
    with contextlib.ExitStack() as stack:
        # The layer after the current one is decompressed meanwhile: inflating is what takes long.
        ahead: list[TarStream] = []
        waiting = list(layers[first:])
        for number, layer in enumerate(layers[first:], start=first):
            while waiting and len(ahead) < AHEAD:
                opened = open_layer(waiting.pop(0), max_bytes=limits.bytes)
                ahead.append(stack.enter_context(opened))
            stream = ahead.pop(0)
            for header in stream:
                left_entries -= 1
                left_bytes -= header.size
                if left_entries < 0:
                    raise LayerError(f"the image has more than {limits.entries} members")
                if left_bytes < 0:
                    raise LayerError(f"the image unpacks to more than {limits.bytes} bytes")
                try:
                    _apply_member(tree, sink, header, stream, number)
                except TreeError as error:
                    raise LayerError(f"layer {layer.digest}: {error}; refused") from error
            # Bookkeeping of AUFS, whose files may be what hard links name: .wh..wh.plnk and others.
            for name in tree.children("/"):
                if name.startswith(WHITEOUT + WHITEOUT):
                    for path in tree.remove_below((name,), layer=number + 1):
                        sink.remove(path)
    return tree


def _apply_member(tree: Tree, sink: _Sink, header: Header, stream: TarStream, layer: int) -> None:
    parts = tree.destination(split(header.name))
    if parts and parts[-1].startswith(WHITEOUT):
        _whiteout(tree, sink, parts, layer)
        return
    if not parts and header.kind != "dir":
        raise TreeError(f"the root is a {header.kind}")
    entry = Entry(
        kind=header.kind,
        mode=header.mode,
        uid=header.uid,
        gid=header.gid,
        size=header.size,
        mtime=header.mtime,
        linkname=header.linkname if header.kind == "symlink" else "",
        layer=layer,
        device=header.device,
    )
    target: Parts = ()
    if header.kind == "hardlink":
        target, entry = _hardlink(tree, header, layer)
        if target == parts:
            return
    old = tree.get(parts)
    if old is not None and not (old.kind == "dir" and entry.kind == "dir"):
        sink.remove(parts)
    for parent in tree.put(parts, entry):
        sink.directory(parent, 0o755)
    if entry.kind in ("char", "block"):
        return
    if target:
        sink.hardlink(parts, target)
    else:
        _write(sink, parts, entry, header, stream)


def _write(sink: _Sink, parts: Parts, entry: Entry, header: Header, stream: TarStream) -> None:
    if entry.kind == "dir":
        sink.directory(parts, entry.mode)
    elif entry.kind == "symlink":
        if not entry.linkname:
            raise TreeError(f"the link {header.name!r} has no target")
        sink.symlink(parts, entry.linkname)
    elif entry.kind == "fifo":
        sink.fifo(parts, entry.mode)
    elif entry.kind == "file":
        sink.file(parts, header, stream)


def _hardlink(tree: Tree, header: Header, layer: int) -> tuple[Parts, Entry]:
    target = tree.destination(split(header.linkname))
    found = tree.get(target)
    if found is None or found.kind == "dir":
        what = "does not exist in the image" if found is None else "is a directory"
        raise TreeError(f"the hard link {header.name!r} names {header.linkname!r}, which {what}")
    first = found.hardlink or "/" + "/".join(target)
    return target, replace(found, hardlink=first, layer=layer)


def _whiteout(tree: Tree, sink: _Sink, parts: Parts, layer: int) -> None:
    name = parts[-1]
    if name == OPAQUE:
        removed = tree.clear_below(parts[:-1], layer=layer)
    elif name.startswith(WHITEOUT + WHITEOUT):
        return  # Bookkeeping of AUFS, nothing to do with content.
    else:
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise TreeError(f"the whiteout {name!r} names no file")
        removed = tree.remove_below((*parts[:-1], hidden), layer=layer)
    for path in removed:
        sink.remove(path)
