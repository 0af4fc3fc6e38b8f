"""Takes the emulator of one architecture out of Debian's qemu-user-static.

qemu_user --architecture arm64 --deb qemu-user-static_….deb --out qemu_arm64
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.archive.deb import DebError, data_tar, relative_path
from tools.container.emulator import QEMU_NAMES


def extract(deb: Path, architecture: str, out: Path) -> None:
    """Writes the emulator to `out`, executable. Raises DebError when the package has none."""
    wanted = f"usr/bin/qemu-{QEMU_NAMES[architecture]}-static"
    with data_tar(deb) as tar:
        for member in tar:
            if relative_path(member.name, of=deb) != wanted or not member.isfile():
                continue
            content = tar.extractfile(member)
            if content is not None:
                out.write_bytes(content.read())
                out.chmod(0o755)
                return
    raise DebError(f"{deb}: has no file {wanted}; wanted is Debian's qemu-user-static")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", choices=sorted(QEMU_NAMES), required=True)
    parser.add_argument("--deb", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        extract(args.deb, args.architecture, args.out)
    except DebError as error:
        print(f"qemu_user: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
