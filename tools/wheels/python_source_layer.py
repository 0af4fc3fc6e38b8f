r"""Application sources → one image layer: files, bytecode beside modules, data directories.

    python_source_layer --content content.json --lock bookworm.lock.json \
        --out layer.tar.gz --descriptor layer.json

    {"directory": "/app", "files": [["backend/main.py", "main.py"]],
     "empty_directories": {"data": "1000:1000:0755"}}

Everything is root's and 0644, so the program cannot rewrite itself; only the empty directories
named here belong to somebody else. Same sources, same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.archive.bytecode import Source, compile_all
from tools.archive.layer import LayerWriter, add_layer_flags, normalise, read_content
from tools.cli import ToolError, tool
from tools.wheels.wheel_layer import read_mtime
from tools.worker import run

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE_MODE = 0o644
_OWNER_AND_MODE = re.compile(r"([0-9]+):([0-9]+):(0[0-7]{3})")


@dataclass(frozen=True)
class SourceFile:
    """A file and where it goes below the layer's directory."""

    source: Path
    path: str


@dataclass(frozen=True)
class EmptyDirectory:
    """A directory for data the program writes; `path` is below the layer's directory."""

    path: str
    uid: int
    gid: int
    mode: int


def parse_empty_directory(path: str, text: str) -> EmptyDirectory:
    """Read UID:GID:MODE, MODE in octal as in 0755. Raise ToolError."""
    match = _OWNER_AND_MODE.fullmatch(text)
    if match is None:
        raise ToolError(
            f"empty directory {path!r}: {text!r} is not UID:GID:MODE with numeric owners and a "
            "mode such as 0755"
        )
    return EmptyDirectory(path=path, uid=int(match[1]), gid=int(match[2]), mode=int(match[3], 8))


def build_layer(
    files: Sequence[SourceFile],
    *,
    directory: str,
    empty_directories: Sequence[EmptyDirectory],
    mtime: int,
    jobs: int | None = None,
) -> LayerWriter:
    """Return the layer, not yet written. Raise ToolError, OSError."""
    root = normalise(directory.lstrip("/"))
    layer = LayerWriter(mtime=mtime)
    modules: list[Source] = []
    for file in files:
        path = f"{root}/{normalise(file.path)}"
        data = file.source.read_bytes()
        layer.add_file(path, data, mode=_FILE_MODE)
        if path.endswith(".py"):
            modules.append(Source(path=f"/{path}", data=data))
    for place, compiled in compile_all(modules, jobs=jobs).items():
        layer.add_file(place.lstrip("/"), compiled, mode=_FILE_MODE)
    for empty in empty_directories:
        layer.add_dir(
            f"{root}/{normalise(empty.path)}", mode=empty.mode, uid=empty.uid, gid=empty.gid
        )
    return layer


@tool("python_source_layer")
def main(argv: list[str] | None = None) -> None:
    """Write the layer the flags describe; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--content", type=Path, required=True, help="JSON: what goes where")
    parser.add_argument(
        "--lock", type=Path, required=True, help="lock of Debian packages: the layer's timestamp"
    )
    add_layer_flags(parser)
    args = parser.parse_args(argv)
    content = read_content(args.content, keys=("directory", "empty_directories", "files"))
    layer = build_layer(
        [SourceFile(source=Path(source), path=path) for source, path in content["files"]],
        directory=content["directory"],
        empty_directories=[
            parse_empty_directory(*item) for item in content["empty_directories"].items()
        ],
        mtime=read_mtime(args.lock),
    )
    layer.write(args.out, args.descriptor, jobs=args.jobs, level=args.level)


if __name__ == "__main__":
    sys.exit(run(main))
