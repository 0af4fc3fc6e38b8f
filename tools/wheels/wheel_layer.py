r"""Wheels → one image layer: packages, console scripts, and bytecode beside sources.

    wheel_layer --wheel idna-….whl --bytecode idna.zip --wheel h11-….whl --bytecode h11.zip \
        --exclude excluded_paths.json --lock bookworm.lock.json \
        --out layer.tar.gz --descriptor layer.json

Same wheels, same bytes. Files must have the hashes that their wheel's RECORD states, and two wheels
may not bring one path with different content. The metadata that scanners read (`*.dist-info`)
stays, with a RECORD of what the layer holds. With `--strip`, shared objects come without debugging
information (`strip.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.archive.layer import LayerWriter, add_layer_flags
from tools.cli import ToolError, tool
from tools.wheels.exclusions import read_exclusions, without_excluded
from tools.wheels.wheel_bytecode import read_bytecode
from tools.wheels.wheel_tree import TreeFile, merge, read_wheel, stripped, with_bytecode
from tools.worker import run

_SCRIPT_MODE = 0o755
_FILE_MODE = 0o644


def layer_files(
    wheels: dict[Path, Path], *, globs: tuple[str, ...] = (), strip: bool = False
) -> tuple[TreeFile, ...]:
    """Return every file of the layer, sorted by path; `wheels` has the bytecode of each.

    Raise ToolError.
    """
    trees = []
    for wheel, bytecode in sorted(wheels.items(), key=lambda item: item[0].name):
        tree = without_excluded(read_wheel(wheel), globs=globs)
        trees.append(with_bytecode(stripped(tree) if strip else tree, read_bytecode(bytecode)))
    return merge(trees)


def write_layer(
    files: tuple[TreeFile, ...],
    *,
    mtime: int,
    out: Path,
    descriptor: Path,
    jobs: int | None = None,
    level: int | None = None,
) -> None:
    """Write the layer and its descriptor; `mtime` is in seconds since 1970. Raise ToolError."""
    layer = LayerWriter(mtime=mtime)
    for file in files:
        layer.add_file(file.path, file.data, mode=_SCRIPT_MODE if file.executable else _FILE_MODE)
    layer.write(out, descriptor, jobs=jobs, level=level)


def read_mtime(lock: Path) -> int:
    """Return the image's one timestamp, from the lock of Debian packages. Raise ToolError."""
    try:
        return int(json.loads(lock.read_text(encoding="utf-8"))["mtime"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{lock}: wanted a lock with an integer `mtime`: {error!r}") from error


@tool("wheel_layer")
def main(argv: list[str] | None = None) -> None:
    """Write the layer the flags describe; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--wheel", type=Path, action="append", required=True, help="a .whl file; repeatable"
    )
    parser.add_argument(
        "--bytecode",
        type=Path,
        action="append",
        required=True,
        help="what wheel_bytecode made of it; in the same order",
    )
    parser.add_argument(
        "--exclude", type=Path, help="JSON list of globs that stay out, with reasons"
    )
    parser.add_argument(
        "--lock", type=Path, required=True, help="lock of Debian packages: the layer's timestamp"
    )
    parser.add_argument(
        "--strip", action="store_true", help="leave debugging information of shared objects out"
    )
    add_layer_flags(parser)
    args = parser.parse_args(argv)
    if len(args.wheel) != len(args.bytecode):
        parser.error("each --wheel needs a --bytecode")
    globs = read_exclusions(args.exclude) if args.exclude else ()
    wheels = dict(zip(args.wheel, args.bytecode, strict=True))
    files = layer_files(wheels, globs=globs, strip=args.strip)
    write_layer(
        files,
        mtime=read_mtime(args.lock),
        out=args.out,
        descriptor=args.descriptor,
        jobs=args.jobs,
        level=args.level,
    )


if __name__ == "__main__":
    sys.exit(run(main))
