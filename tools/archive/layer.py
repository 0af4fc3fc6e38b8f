r"""Write an image layer: entries in, one deterministic tar and its descriptor out.

    layer = LayerWriter(mtime=1700000000)
    layer.add_file("etc/motd", b"hello\n", mode=0o644)
    layer.write(Path("motd.tar.gz"), Path("motd.json"))

The same entries give the same bytes, whatever order they were added in and whatever the clock,
locale, umask, user, path or number of threads: this is the one place where owner, mode, time, order
and encoding of a layer are set. Headers are POSIX ustar; a pax record is added only for what ustar
cannot hold (long or non-ASCII names), so most tools ever written can read the result.
"""

import argparse
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tools.archive.atomic import replacing
from tools.archive.compress import Compressor, method_of
from tools.cli import ToolError

Kind = Literal["file", "dir", "symlink", "hardlink"]

# Nothing in an image is setuid or setgid: it runs as one user. Sticky has a meaning on directories.
_MODE_MASKS: dict[Kind, int] = {"file": 0o777, "dir": 0o1777, "symlink": 0o777, "hardlink": 0o777}
_TAR_TYPES: dict[Kind, bytes] = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}
_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


class LayerError(ToolError):
    """An entry that cannot be in a layer; the message names the path and the cause."""


@dataclass(frozen=True)
class Entry:
    """One member of a layer: `data` is a file's content, `target` where a link points."""

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    target: str = ""

    def describe(self) -> str:
        """Describe the entry in a few words, for messages about conflicts."""
        owner = f"{self.kind} {self.mode:04o} {self.uid}:{self.gid}"
        if self.kind == "file":
            return f"{owner}, {len(self.data)} bytes"
        return f"{owner} -> {self.target}" if self.target else owner


@dataclass(frozen=True)
class Descriptor:
    """What an image manifest says of a layer; digests are "sha256:<hex>", size is in bytes."""

    compression: str
    diff_id: str
    digest: str
    size: int

    def to_json(self) -> str:
        """Return the descriptor as the JSON text that the OCI rules read."""
        return json.dumps(vars(self), indent=2, sort_keys=True) + "\n"


class LayerWriter:
    """Collects entries, refuses those that contradict each other, and writes them sorted.

    Paths are relative to the image's root, with or without a leading "./". Every method raises
    LayerError for a path that is empty, climbs out with "..", or is an OCI whiteout.
    """

    def __init__(self, *, mtime: int) -> None:
        self._mtime = mtime
        self._entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, path: str) -> Entry | None:
        """Return what was added at `path`, if anything."""
        return self._entries.get(path)

    def add_file(self, path: str, data: bytes, *, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Add a regular file; setuid, setgid and sticky bits of `mode` are dropped."""
        self._add(Entry(path=path, kind="file", mode=mode, uid=uid, gid=gid, data=data))

    def add_dir(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Add a directory; parents that are never added are 0755 and root's."""
        self._add(Entry(path=path, kind="dir", mode=mode, uid=uid, gid=gid))

    def add_symlink(self, path: str, target: str, *, uid: int = 0, gid: int = 0) -> None:
        """Add a symbolic link with the target as given."""
        if not target:
            raise LayerError(f"{path}: a symlink needs a target")
        self._add(Entry(path=path, kind="symlink", mode=0o777, uid=uid, gid=gid, target=target))

    def add_hardlink(self, path: str, target: str) -> None:
        """Add another name for the regular file that is, or will be, at `target`.

        Of all names of a file the first in sorted order carries the content.
        """
        self._add(Entry(path=path, kind="hardlink", mode=0, target=normalise(target)))

    def entries(self) -> tuple[Entry, ...]:
        """Return what `write` would write: complete with parents, links settled, sorted.

        Raise LayerError for an entry below something that is not a directory, and for a hard link
        to something that is not a file of this layer.
        """
        complete = self._with_parents()
        self._settle_hardlinks(complete)
        # A directory's path is a prefix of its content's, so it sorts first.
        return tuple(complete[path] for path in sorted(complete, key=str.encode))

    def write(
        self, out: Path, descriptor: Path, *, jobs: int | None = None, level: int | None = None
    ) -> Descriptor:
        """Write the tar and its descriptor, each complete or not at all.

        The extension of `out` says how it is compressed: .tar.gz, .tar.zst or .tar. `jobs` is the
        number of threads (default: all cores); it does not change a byte.
        """
        entries = self.entries()
        method = method_of(out.name)
        return self._write(entries, out, descriptor, method=method, jobs=jobs, level=level)

    def _write(
        self,
        entries: tuple[Entry, ...],
        out: Path,
        descriptor: Path,
        *,
        method: str,
        jobs: int | None,
        level: int | None,
    ) -> Descriptor:
        with (
            replacing(out) as sink,
            Compressor(sink, method=method, jobs=jobs, level=level) as packed,
        ):
            for entry in entries:
                for piece in _tar_pieces(entry, self._mtime):
                    packed.write(piece)
            packed.write(_END_OF_ARCHIVE)
        result = Descriptor(
            compression=method,
            diff_id=f"sha256:{packed.raw_sha256}",
            digest=f"sha256:{packed.packed_sha256}",
            size=packed.packed_size,
        )
        with replacing(descriptor) as stream:
            stream.write(result.to_json().encode())
        return result

    def _add(self, entry: Entry) -> None:
        path = normalise(entry.path)
        if not path:
            raise LayerError(f"{entry.path!r}: the root directory itself cannot be an entry")
        entry = replace(entry, path=path, mode=entry.mode & _MODE_MASKS[entry.kind])
        known = self._entries.setdefault(path, entry)
        if known != entry:
            cause = f"first {known.describe()}, then {entry.describe()}"
            if known.kind == entry.kind == "file" and known.data != entry.data:
                cause += ", with different content"
            raise LayerError(f"{path}: added twice: {cause}")

    def _with_parents(self) -> dict[str, Entry]:
        complete = dict(self._entries)
        for path in self._entries:
            parent = path.rpartition("/")[0]
            while parent:
                entry = complete.get(parent)
                if entry is None:
                    complete[parent] = Entry(path=parent, kind="dir", mode=0o755)
                elif entry.kind != "dir":
                    # Unpacking would write through the link, to wherever it points.
                    raise LayerError(f"{path}: lies below {parent}, which is a {entry.kind}")
                parent = parent.rpartition("/")[0]
        return complete

    def _settle_hardlinks(self, complete: dict[str, Entry]) -> None:
        """Put each file's content at its first name in sorted order: a link must come later."""
        names: dict[str, list[str]] = {}
        for entry in self._entries.values():
            if entry.kind == "hardlink":
                names.setdefault(self._link_source(entry), []).append(entry.path)
        for source, links in names.items():
            first, *others = sorted([source, *links], key=str.encode)
            content = complete[source]
            complete[first] = replace(content, path=first)
            for other in others:
                complete[other] = replace(
                    content, path=other, kind="hardlink", data=b"", target=first
                )

    def _link_source(self, link: Entry) -> str:
        seen = {link.path}
        target = self._entries.get(link.target)
        while target is not None and target.kind == "hardlink" and target.path not in seen:
            seen.add(target.path)
            target = self._entries.get(target.target)
        if target is None or target.kind != "file":
            raise LayerError(f"{link.path}: hard link to {link.target}, not a file of this layer")
        return target.path


def add_layer_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every tool that writes a layer has: out, descriptor, level and jobs."""
    parser.add_argument(
        "--out", type=Path, required=True, help="the layer: a .tar.gz, .tar.zst or .tar"
    )
    parser.add_argument("--descriptor", type=Path, required=True, help="its digests and size, JSON")
    parser.add_argument("--level", type=int, help="how hard to compress (default: gzip 6, zstd 9)")
    parser.add_argument("--jobs", type=int, help="threads; changes no byte (default: all cores)")


def read_content(path: Path, *, keys: Collection[str]) -> dict[str, Any]:
    """Return what a rule passes as JSON; raise ToolError if it is not an object of these members.

    Flags such as SOURCE=PATH would do for most, but a path may have a "=" on either side.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ToolError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict) or set(content) != set(keys):
        raise ToolError(f"{path}: wanted an object with {', '.join(sorted(keys))}")
    return content


def normalise(path: str) -> str:
    """Return `path` without "./" and doubled slashes; the root itself is "".

    Raise LayerError for an absolute path, for "..", for control characters, for what is not UTF-8
    and for names that mean "delete" to a container engine (OCI image spec, layer whiteouts).
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise LayerError(f"{path!r}: a path in a layer is relative and has no '..'")
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise LayerError(f"{path!r}: control character in a path")
    if any(part.startswith(".wh.") for part in parts):
        raise LayerError(f"{path!r}: '.wh.' marks a deletion in a layer, it cannot be a file name")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LayerError(f"{path!r}: not UTF-8") from error
    return "/".join(parts)


def tar_header(entry: Entry, *, size: int, mtime: int) -> bytes:
    """Return the header blocks of a member with `size` bytes of content, of any size at all."""
    info = tarfile.TarInfo(entry.path)
    info.type = _TAR_TYPES[entry.kind]
    info.mode = entry.mode
    info.uid, info.gid = entry.uid, entry.gid
    info.uname = info.gname = ""  # names would be looked up on whatever machine unpacks
    info.mtime = mtime
    info.size = size
    info.linkname = entry.target
    return info.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="strict")


def _tar_pieces(entry: Entry, mtime: int) -> Iterator[bytes]:
    yield tar_header(entry, size=len(entry.data), mtime=mtime)
    if entry.data:
        yield entry.data
        yield bytes(-len(entry.data) % tarfile.BLOCKSIZE)
