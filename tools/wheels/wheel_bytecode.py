r"""One wheel → the bytecode of its modules, as a zip file that `wheel_layer` reads.

    wheel_bytecode --wheel idna-….whl --exclude excluded_paths.json --out idna.zip

Compiling is most of the work of a layer of wheels, and each wheel has an action of its own for it:
a new version of one wheel compiles that wheel alone. Same wheel and path in the image, same bytes.
A module that does not compile has no bytecode, as after `pip install`; a note names it.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from tools.archive.bytecode import Source, compile_all
from tools.cli import tool
from tools.wheels.exclusions import kept, read_exclusions, without_excluded
from tools.wheels.wheel_tree import modules, read_wheel
from tools.worker import run


def wheel_bytecode(
    wheel: Path, *, globs: tuple[str, ...] = (), jobs: int | None = None
) -> dict[str, bytes]:
    """Return bytecode by its path in the image, where `globs` leave neither it nor its source out.

    Report modules that do not compile on stderr. Raise ToolError.
    """

    def report(message: str) -> None:
        # Wheels keep templates and Python 2's modules as .py files, which nothing ever imports.
        print(
            f"note: {wheel.name}: {message}; the image has it without bytecode. To leave it out, "
            "or to silence this note, add its path or that of its .pyc to excluded_paths",
            file=sys.stderr,
        )

    found = modules(without_excluded(read_wheel(wheel), globs=globs))
    sources = [
        Source(path=f"/{found[path].path}", data=found[path].data)
        for path in kept(found, globs=globs)
    ]
    compiled = compile_all(sources, jobs=jobs, skipped=report)
    return {path.lstrip("/"): data for path, data in compiled.items()}


def write_bytecode(bytecode: dict[str, bytes], out: Path) -> None:
    """Write a zip file; nothing in it depends on the clock or the machine."""
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in bytecode.items():
            archive.writestr(zipfile.ZipInfo(path), data)


def read_bytecode(path: Path) -> dict[str, bytes]:
    """Return what `write_bytecode` wrote."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@tool("wheel_bytecode")
def main(argv: list[str] | None = None) -> None:
    """Write the bytecode; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, required=True, help="a .whl file")
    parser.add_argument(
        "--exclude", type=Path, help="JSON list of globs that stay out, with reasons"
    )
    parser.add_argument("--out", type=Path, required=True, help="the zip file")
    parser.add_argument("--jobs", type=int, help="processes; changes no byte (default: all cores)")
    args = parser.parse_args(argv)
    globs = read_exclusions(args.exclude) if args.exclude else ()
    write_bytecode(wheel_bytecode(args.wheel, globs=globs, jobs=args.jobs), args.out)


if __name__ == "__main__":
    sys.exit(run(main))
