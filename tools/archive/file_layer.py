r"""Put plain files, directories and symlinks into one image layer.

    python3 -m tools.archive.file_layer --mtime 1700000000 --out etc.tar.gz --descriptor etc.json \
        --content content.json

    {"files": [["motd.txt", "/etc/motd"]], "dirs": ["/srv/data"], "symlinks": {"/srv/now": "data"},
     "modes": {"/etc/motd": "0600"}, "owners": {"/srv/data": "1000:1000"}}

The same files and content give the same bytes; owner, mode and time of the files on disk mean
nothing. Files are 0644 and directories 0755, owned by root, unless the content says otherwise.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.archive.layer import LayerWriter, add_layer_flags, normalise, read_content
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


def read_file_layer(path: Path) -> FileLayer:
    """Read a JSON file: `files` are pairs of source and path, the rest is in FileLayer's form.

    Modes are octal ("0644"), owners "UID:GID". Raise ToolError for a malformed value, and for a
    path that is given twice.
    """
    content = read_content(path, keys=("dirs", "files", "modes", "owners", "symlinks"))
    files: dict[str, Path] = {}
    for source, place in content["files"]:
        if place in files:
            raise ToolError(f"{place}: given twice: {str(files[place])!r} and {source!r}")
        files[place] = Path(source)
    return FileLayer(
        files=files,
        dirs=tuple(content["dirs"]),
        symlinks=content["symlinks"],
        modes={place: _mode(place, text) for place, text in content["modes"].items()},
        owners={place: _owner(place, text) for place, text in content["owners"].items()},
    )


def _mode(path: str, text: str) -> int:
    if not re.fullmatch("[0-7]{1,5}", text):
        raise ToolError(f"{path}: a mode must be octal digits such as 0644, found {text!r}")
    return int(text, 8)


def _owner(path: str, text: str) -> tuple[int, int]:
    if not re.fullmatch("[0-9]+:[0-9]+", text):
        raise ToolError(f"{path}: an owner must be UID:GID in numbers, found {text!r}")
    uid, _, gid = text.partition(":")
    return int(uid), int(gid)


@tool("file_layer")
def main(argv: list[str] | None = None) -> None:
    """Write the layer and return 0, or print one line and return 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mtime", type=int, required=True, help="seconds, for every entry")
    parser.add_argument("--content", type=Path, required=True, help="JSON: what goes where")
    add_layer_flags(parser)
    options = parser.parse_args(argv)
    layer = compose(read_file_layer(options.content), mtime=options.mtime)
    layer.write(options.out, options.descriptor, jobs=options.jobs, level=options.level)


if __name__ == "__main__":
    sys.exit(main())
