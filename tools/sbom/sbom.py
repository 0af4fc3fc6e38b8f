"""An image, or an index of images, and its components → an SBOM.

    sbom --image layout --name app --distro debian-12 --lock policy.json \
        --supplier "A Team <team@example.org>" --components amd64=components.json \
        --format spdx --out app.spdx.json

The time in it is the locks'; same image, same components, same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tools.apt.layer_policy import read_policy
from tools.cli import ToolError, tool
from tools.sbom import cyclonedx_document, spdx3_document, spdx_document
from tools.sbom.component import Component, read_components
from tools.sbom.subject import Naming, Subject, read_subject

_FORMATS: dict[str, Callable[[Subject], bytes]] = {
    "cyclonedx": cyclonedx_document.document,
    "spdx": spdx_document.document,
    "spdx3": spdx3_document.document,
}


@tool("image_sbom")
def main(argv: list[str] | None = None) -> None:
    """Write the SBOM of the image on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", type=Path, required=True, help="OCI layout of an image or index")
    parser.add_argument("--name", required=True, help="what the image is called")
    parser.add_argument("--distro", required=True, help="as package URLs have it: debian-12")
    parser.add_argument("--supplier", help='who makes the image: "Name <e-mail or web address>"')
    parser.add_argument(
        "--lock", type=Path, required=True, help="lock or layer policy, for the time"
    )
    parser.add_argument(
        "--components",
        action="append",
        default=[],
        metavar="ARCH=FILE",
        help="JSON file of `components`, for images of that architecture",
    )
    parser.add_argument("--format", choices=sorted(_FORMATS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    flags = parser.parse_args(argv)
    components: dict[str, list[Component]] = {}
    for value in flags.components:
        architecture, separator, file = value.partition("=")
        if not separator:
            raise ToolError(f"--components: must be ARCH=FILE, found {value!r}")
        components.setdefault(architecture, []).extend(read_components(Path(file)))
    naming = Naming(
        name=flags.name,
        distro=flags.distro,
        supplier=flags.supplier,
        mtime=read_policy(flags.lock).mtime,
    )
    subject = read_subject(flags.image, naming, components)
    flags.out.write_bytes(_FORMATS[flags.format](subject))


if __name__ == "__main__":
    sys.exit(main())
