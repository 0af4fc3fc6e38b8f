"""The files of a pulled image -> a layout directory that holds its JSON and links to its layers.

    pulled_layout --input external/base --output out --digest-output out.json.sha256 --label @base

Documents are taken over byte for byte, so the digest stays the one that was pulled.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.image.layout import LayoutError, open_layout, read_image
from tools.oci.layout_writer import write_digest, write_layout


def relink(source: Path, out: Path) -> str:
    """Write the layout `out` with the image of `source`; returns its digest. Raises LayoutError."""
    layout = open_layout(source)
    image = read_image(layout, layout.root)
    digests = (image.digest, image.manifest["config"]["digest"])
    write_layout(
        out,
        root=layout.root,
        documents=[layout.blob(digest).read_bytes() for digest in digests],
        links={layer.digest: layer.path for layer in image.layers},
    )
    return image.digest


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="directory of the pulled image")
    parser.add_argument("--output", type=Path, required=True, help="layout directory to write")
    parser.add_argument("--digest-output", type=Path, required=True, help="file for the digest")
    parser.add_argument("--label", required=True, help="the target, for messages")
    flags = parser.parse_args(argv)
    try:
        write_digest(flags.digest_output, relink(flags.input, flags.output))
    except (LayoutError, OSError) as error:
        print(f"ERROR: {flags.label}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
