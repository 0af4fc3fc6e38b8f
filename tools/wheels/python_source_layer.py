r"""Application sources → one image layer: files, bytecode beside modules, data directories.

    python_source_layer --file backend/main.py=main.py --directory /app \
        --empty-directory data=1000:1000:0755 --lock bookworm.lock.json \
        --out layer.tar.gz --descriptor layer.json

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
from tools.archive.layer import LayerWriter, add_layer_flags, normalise
from tools.cli import tool
from tools.wheels.wheel_layer import read_mtime

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE_MODE = 0o644
_EMPTY_DIRECTORY = re.compile(r"(?P<path>[^=]+)=(?P<uid>\d+):(?P<gid>\d+):(?P<mode>0[0-7]{3})")


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


def parse_file(text: str) -> SourceFile:
    """Read SOURCE=PATH. Raises argparse.ArgumentTypeError."""
    source, separator, path = text.rpartition("=")
    if not (separator and source and path):
        message = f"{text!r} is not SOURCE=PATH"
        raise argparse.ArgumentTypeError(message)
    return SourceFile(source=Path(source), path=path)


def parse_empty_directory(text: str) -> EmptyDirectory:
    """Read PATH=UID:GID:MODE, MODE in octal as in 0755. Raises argparse.ArgumentTypeError."""
    match = _EMPTY_DIRECTORY.fullmatch(text)
    if match is None:
        message = f"{text!r} is not PATH=UID:GID:MODE with numeric owners and a mode such as 0755"
        raise argparse.ArgumentTypeError(message)
    return EmptyDirectory(
        path=match["path"], uid=int(match["uid"]), gid=int(match["gid"]), mode=int(match["mode"], 8)
    )


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
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        fromfile_prefix_chars="@",
    )
    parser.add_argument(
        "--file", type=parse_file, action="append", required=True, help="SOURCE=PATH; repeatable"
    )
    parser.add_argument(
        "--directory", required=True, help="where in the image the files go, such as /app"
    )
    parser.add_argument(
        "--empty-directory",
        type=parse_empty_directory,
        action="append",
        default=[],
        help="PATH=UID:GID:MODE; repeatable",
    )
    parser.add_argument(
        "--lock", type=Path, required=True, help="lock of Debian packages: the layer's timestamp"
    )
    add_layer_flags(parser)
    args = parser.parse_args(argv)
    layer = build_layer(
        args.file,
        directory=args.directory,
        empty_directories=args.empty_directory,
        mtime=read_mtime(args.lock),
    )
    layer.write(args.out, args.descriptor, jobs=args.jobs, level=args.level)


if __name__ == "__main__":
    sys.exit(main())
