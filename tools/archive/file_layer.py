r"""Put plain files, directories and symlinks into one image layer.

    python3 -m tools.archive.file_layer --mtime 1700000000 --out etc.tar.gz --descriptor etc.json \
        --file motd.txt=/etc/motd --dir /srv/data --symlink /srv/current=data \
        --mode /etc/motd=0600 --owner /srv/data=1000:1000

The same files and flags give the same bytes; owner, mode and time of the files on disk mean
nothing. Files are 0644 and directories 0755, owned by root, unless a flag says otherwise.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.archive.layer import LayerWriter, add_layer_flags, normalise
from tools.cli import ToolError, tool

_ROOT = (0, 0)


@dataclass(frozen=True)
class FileLayer:
    """What goes into a layer. Paths are absolute in the image; owners are (uid, gid)."""

    files: Mapping[str, Path]
    dirs: tuple[str, ...]
    symlinks: Mapping[str, str]
    modes: Mapping[str, int]
    owners: Mapping[str, tuple[int, int]]


def compose(content: FileLayer, *, mtime: int) -> LayerWriter:
    """Return the layer, ready to be written.

    Raise ToolError for a path that two entries claim, for a mode or owner of a path that is not
    in the layer, and for a setuid or setgid mode.
    """
    paths = [*content.files, *content.dirs, *content.symlinks]
    for kind, settings in (("a mode", content.modes), ("an owner", content.owners)):
        for path in sorted(settings.keys() - set(paths)):
            raise ToolError(f"{path}: {kind} is given, but the layer has no such path")
    for path, mode in content.modes.items():
        allowed = 0o1777 if path in content.dirs else 0o777
        if path in content.symlinks or mode & ~allowed:
            raise ToolError(f"{path}: mode {mode:04o} is not allowed here")
    layer = LayerWriter(mtime=mtime)
    for path, source in content.files.items():
        uid, gid = content.owners.get(path, _ROOT)
        mode = content.modes.get(path, 0o644)
        if source.exists() and not source.is_file():
            raise ToolError(f"{path}: {source} is not a regular file")
        layer.add_file(_in_image(path), source.read_bytes(), mode=mode, uid=uid, gid=gid)
    for path in content.dirs:
        uid, gid = content.owners.get(path, _ROOT)
        layer.add_dir(_in_image(path), mode=content.modes.get(path, 0o755), uid=uid, gid=gid)
    for path, target in content.symlinks.items():
        uid, gid = content.owners.get(path, _ROOT)
        layer.add_symlink(_in_image(path), target, uid=uid, gid=gid)
    return layer


def _in_image(path: str) -> str:
    if not path.startswith("/"):
        raise ToolError(f"{path}: paths in the image are absolute; begin it with '/'")
    return normalise(path.lstrip("/"))


def _pair(text: str) -> tuple[str, str]:
    # The last "=": a file's name on disk comes from a label and may hold one, a mode never does.
    left, equals, right = text.rpartition("=")
    if not equals or not left or not right:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LEFT=RIGHT")
    return left, right


def _mode(text: str) -> tuple[str, int]:
    path, digits = _pair(text)
    return path, int(digits, 8)


def _owner(text: str) -> tuple[str, tuple[int, int]]:
    path, owner = _pair(text)
    uid, _, gid = owner.partition(":")
    return path, (int(uid), int(gid))


def _unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return pairs as a dictionary; raise ToolError when a path is there twice."""
    result: dict[str, str] = {}
    for path, value in pairs:
        if path in result:
            raise ToolError(f"{path}: given twice: {result[path]!r} and {value!r}")
        result[path] = value
    return result


@tool("file_layer")
def main(argv: list[str] | None = None) -> None:
    """Build a layer from the command line."""
    parser = argparse.ArgumentParser(
        description="Put files, directories and symlinks into one deterministic image layer.",
        fromfile_prefix_chars="@",
    )
    parser.add_argument("--mtime", type=int, required=True, help="seconds, for every entry")
    add_layer_flags(parser)
    parser.add_argument("--file", type=_pair, metavar="FILE=/PATH", action="append", default=[])
    parser.add_argument("--dir", metavar="/PATH", action="append", default=[])
    parser.add_argument(
        "--symlink", type=_pair, metavar="/PATH=TARGET", action="append", default=[]
    )
    parser.add_argument("--mode", type=_mode, metavar="/PATH=OCTAL", action="append", default=[])
    parser.add_argument(
        "--owner", type=_owner, metavar="/PATH=UID:GID", action="append", default=[]
    )
    options = parser.parse_args(argv)
    files = _unique([(path, source) for source, path in options.file])
    content = FileLayer(
        files={path: Path(source) for path, source in files.items()},
        dirs=tuple(options.dir),
        symlinks=_unique(options.symlink),
        modes=dict(options.mode),
        owners=dict(options.owner),
    )
    layer = compose(content, mtime=options.mtime)
    layer.write(options.out, options.descriptor, jobs=options.jobs, level=options.level)


if __name__ == "__main__":
    sys.exit(main())
