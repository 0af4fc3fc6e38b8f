"""The file system an image describes: every path with the type, mode and owner its layer gives it.

Without root only one user id can be mapped, so the files on disk cannot say whom they belong to;
this tree can, because it is built from the layers' headers. It also decides what an archive may
do: every path is resolved here, inside the image, before anything on disk is touched.

Layers are applied as the OCI image specification's layer.md says: `.wh.NAME` removes NAME of the
layers below, `.wh..wh..opq` removes everything the layers below have in that directory, whatever
the order of the members within the layer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace

from tools.archive.links import LoopError, follow
from tools.cli import ToolError

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MAX_DEPTH = 2047  # Components of one path: as many as PATH_MAX allows.


class TreeError(ToolError):
    """A path cannot be used: it is hostile, or it does not exist."""


@dataclass(frozen=True)
class Entry:
    """One path of the image. `mode` holds the 12 permission bits, `kind` the type.

    Kinds: file, dir, symlink, char, block, fifo. A hard link is an entry of its target's kind
    whose `hardlink` names the first path of the same file. `layer` is the index of the layer
    that last described the path. `implied` marks directories no layer mentions.
    """

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    linkname: str = ""
    hardlink: str = ""
    layer: int = 0
    implied: bool = False
    device: tuple[int, int] = (0, 0)


@dataclass
class _Node:
    entry: Entry
    children: dict[str, _Node] = field(default_factory=dict)


def split(name: str) -> tuple[str, ...]:
    """Split an archive member's name into components; the root is the empty tuple.

    Raise TreeError for absolute names and for names with a `..`: no tool that writes image
    layers produces them, and they are how an archive climbs out of its directory.
    """
    if name.startswith("/"):
        raise TreeError(f"the name {name!r} is absolute")
    if "\0" in name:
        raise TreeError(f"the name {name!r} contains a NUL byte")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise TreeError(f"the name {name!r} climbs out with '..'")
    if len(parts) > MAX_DEPTH:
        raise TreeError(f"the name {name[:80]!r}... is more than {MAX_DEPTH} directories deep")
    return parts


class Tree:
    """The merged tree. Paths given and returned are absolute, with `/` as the root."""

    def __init__(self) -> None:
        self._root = _Node(Entry(kind="dir", mode=0o755, implied=True))

    # Reading.

    def lookup(self, path: str) -> Entry | None:
        """Return the entry at `path` as lstat would see it: links in its parents are followed."""
        try:
            node = self._walk(path, follow_last=False)
        except TreeError:
            return None
        return node[1].entry if node[1] else None

    def realpath(self, path: str) -> str:
        """Return `path` without any symbolic link, as the kernel would resolve it inside the image.

        The last components need not exist. Raise TreeError for loops and for parents that are
        not directories.
        """
        return self._walk(path, follow_last=True)[0]

    def entries(self, top: str = "/") -> Iterator[tuple[str, Entry]]:
        """Yield every path at and below `top`, parents first, siblings in byte order."""
        real, node = self._walk(top, follow_last=False)
        if node is not None:
            yield from self._entries(real, node)

    def children(self, path: str) -> list[str]:
        """Return the sorted names in the directory `path`; empty when it is none."""
        node = self._walk(path, follow_last=True)[1]
        return sorted(node.children) if node else []

    def _entries(self, path: str, node: _Node) -> Iterator[tuple[str, Entry]]:
        pending = [(path, node)]
        while pending:
            path, node = pending.pop()
            yield path, node.entry
            path = path.rstrip("/")
            pending += [
                (f"{path}/{name}", node.children[name])
                for name in sorted(node.children, reverse=True)
            ]

    def _walk(self, path: str, *, follow_last: bool) -> tuple[str, _Node | None]:
        def link_of(parts: Sequence[str]) -> str | None:
            parent = self._node(parts[:-1])
            if parent is not None and parent.entry.kind != "dir":
                above = "/" + "/".join(parts[:-1])
                raise TreeError(f"{path!r}: {above!r} is not a directory")
            node = parent.children.get(parts[-1]) if parent else None
            return node.entry.linkname if node and node.entry.kind == "symlink" else None

        try:
            parts = follow(path, link_of, follow_last=follow_last)
        except LoopError as error:
            raise TreeError(str(error)) from error
        return "/" + "/".join(parts), self._node(parts)

    # Applying a layer.

    def destination(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return where a member named `parts` goes: links in its parents are resolved in the image.

        Above the root is the root, as in a container. Raise TreeError when a parent is no directory
        or a loop of links.
        """
        name = "/".join(parts)

        def link_of(above: Sequence[str]) -> str | None:
            if len(above) > MAX_DEPTH:
                raise TreeError(f"{name[:80]!r}... is too deep once its links are followed")
            entry = self.get(above)
            if entry is None or entry.kind == "dir":
                return None
            if entry.kind != "symlink":
                raise TreeError(f"{name!r} lies under {above[-1]!r}, which is a file")
            return entry.linkname

        try:
            directory = follow("/".join(parts[:-1]), link_of)
        except LoopError as error:
            raise TreeError(f"{name!r} goes through a loop of links") from error
        return (*directory, *parts[-1:])

    def get(self, parts: Sequence[str]) -> Entry | None:
        """Return the entry at exactly these components; no link is followed."""
        node = self._node(parts)
        return node.entry if node else None

    def put(self, parts: tuple[str, ...], entry: Entry) -> list[tuple[str, ...]]:
        """Place an entry; return the parents it had to imply, outermost first.

        A directory over a directory keeps its children; everything else is replaced.
        """
        node, implied = self._root, []
        for depth, part in enumerate(parts[:-1], start=1):
            child = node.children.get(part)
            if child is None:
                child = _Node(Entry(kind="dir", mode=0o755, layer=entry.layer, implied=True))
                node.children[part] = child
                implied.append(parts[:depth])
            node = child
        if not parts:
            self._root.entry = entry
            return []
        old = node.children.get(parts[-1])
        if old is not None and old.entry.kind == "dir" and entry.kind == "dir":
            old.entry = entry
        else:
            node.children[parts[-1]] = _Node(entry)
        return implied

    def remove_below(self, parts: tuple[str, ...], *, layer: int) -> list[tuple[str, ...]]:
        """Remove what layers before `layer` put at and under a path; return the topmost paths."""
        parent = self._node(parts[:-1])
        if not parts or parent is None or parts[-1] not in parent.children:
            return []
        return self._prune(parent, parts, layer=layer)

    def clear_below(self, parts: tuple[str, ...], *, layer: int) -> list[tuple[str, ...]]:
        """Remove what layers before `layer` put inside a directory, for opaque markers."""
        node = self._node(parts)
        if node is None:
            return []
        removed = []
        for name in sorted(node.children):
            removed += self._prune(node, (*parts, name), layer=layer)
        return removed

    def _prune(self, parent: _Node, parts: tuple[str, ...], *, layer: int) -> list[tuple[str, ...]]:
        removed, pending = [], [(parent, parts)]
        while pending:
            parent, parts = pending.pop()
            node = parent.children[parts[-1]]
            if any(entry.layer >= layer for _, entry in self._entries("", node)):
                pending += [(node, (*parts, name)) for name in sorted(node.children, reverse=True)]
            else:
                del parent.children[parts[-1]]
                removed.append(parts)
        return removed

    def _node(self, parts: Sequence[str]) -> _Node | None:
        node = self._root
        for part in parts:
            child = node.children.get(part)
            if child is None:
                return None
            node = child
        return node

    # Keeping it beside the unpacked files.

    def to_json(self) -> str:
        """Return the tree as JSON, one list per path; `from_json` reads it back."""
        rows = [[path, *astuple(entry)] for path, entry in self.entries()]
        return json.dumps(rows, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Tree:
        """Read what `to_json` wrote. Raise ValueError when it is something else."""
        tree = cls()
        for path, *values in json.loads(text):
            entry = Entry(*values)
            tree.put(split(path[1:]), replace(entry, device=(entry.device[0], entry.device[1])))
        return tree
