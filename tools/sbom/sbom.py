"""An image and its components → an SBOM.

    sbom --image layout --name app --distro debian-12 --lock policy.json \
        --components components.json --format spdx --out app.spdx.json

The time in it is the locks'; same image, same components, same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.apt.layer_policy import read_policy
from tools.cli import tool
from tools.sbom import cyclonedx_document, spdx_document
from tools.sbom.component import Component, read_components
from tools.sbom.subject import Subject, read_subject

_FORMATS: dict[str, Callable[[Subject, Sequence[Component]], bytes]] = {
    "cyclonedx": cyclonedx_document.document,
    "spdx": spdx_document.document,
}


@tool("image_sbom")
def main(argv: list[str] | None = None) -> None:
    """Write the SBOM of the image on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", type=Path, required=True, help="OCI layout of one image")
    parser.add_argument("--name", required=True, help="what the image is called")
    parser.add_argument("--distro", required=True, help="as package URLs have it: debian-12")
    parser.add_argument(
        "--lock", type=Path, required=True, help="lock or layer policy, for the time"
    )
    parser.add_argument("--components", type=Path, required=True, help="JSON file of `components`")
    parser.add_argument("--format", choices=sorted(_FORMATS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    flags = parser.parse_args(argv)
    components = read_components(flags.components)
    subject = read_subject(
        flags.image,
        name=flags.name,
        distro=flags.distro,
        mtime=read_policy(flags.lock).mtime,
    )
    flags.out.write_bytes(_FORMATS[flags.format](subject, components))


if __name__ == "__main__":
    sys.exit(main())
