"""Debian packages and wheels → the components of an image.

    components --distro debian-12 --deb libc6.deb --wheel numpy.whl --out components.json

Reads what each package says of itself: control file and copyright, core metadata, SBOMs inside
(PEP 770), and the libraries bundled. Same packages, same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.cli import tool
from tools.sbom.component import Component, write_components
from tools.sbom.debs import describe_debs
from tools.sbom.wheels import describe_wheel


@tool("sbom_components")
def main(argv: list[str] | None = None) -> None:
    """Write the components of the packages on the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], fromfile_prefix_chars="@"
    )
    parser.add_argument("--distro", required=True, help="as package URLs have it: debian-12")
    parser.add_argument("--deb", type=Path, action="append", default=[], help="a .deb")
    parser.add_argument("--wheel", type=Path, action="append", default=[], help="a .whl")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    flags = parser.parse_args(argv)
    found: list[Component] = []
    found += describe_debs(flags.deb, distro=flags.distro)
    for path in flags.wheel:
        found += describe_wheel(path)
    content = write_components(found)
    flags.out.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
