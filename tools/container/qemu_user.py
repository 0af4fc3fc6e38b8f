"""Extract the emulator of one architecture from Debian's qemu-user-static (qemu-user since 13).

qemu_user --architecture arm64 --deb qemu-user-static_….deb --out qemu_arm64
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.archive.deb import read_file
from tools.cli import ToolError, tool
from tools.linux.architectures import ARCHITECTURES


def extract(deb: Path, architecture: str, out: Path) -> None:
    """Write the emulator to `out`, executable. Raise ToolError when the package has none."""
    name = f"usr/bin/qemu-{ARCHITECTURES[architecture].machine}"
    # Since Debian 13 the plain name is the static program.
    content = read_file(deb, f"{name}-static") or read_file(deb, name)
    if content is None:
        raise ToolError(
            f"{deb}: has no file {name}-static; expected Debian's qemu-user-static, or qemu-user "
            "of Debian 13"
        )
    out.write_bytes(content)
    out.chmod(0o755)


@tool("qemu_user")
def main(argv: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), required=True)
    parser.add_argument("--deb", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    extract(args.deb, args.architecture, args.out)


if __name__ == "__main__":
    sys.exit(main())
