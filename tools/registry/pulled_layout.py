"""The files of a pulled image → a layout directory of its JSON and links to its layers.

    pulled_layout --input external/base --output out --digest-output out.json.sha256 --label @base

Documents are copied byte for byte, so the image keeps its digest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.cli import tool
from tools.image.layout import open_layout
from tools.image.references import walk
from tools.oci.layout_writer import write_digest, write_layout
from tools.oci.prefix import prefixed


def relink(source: Path, out: Path) -> str:
    """Write the layout `out` with the image of `source`; return its digest. Raise LayoutError."""
    layout = open_layout(source)
    ((root, (config, *layers)),) = walk(layout, layout.root)
    digests = (root.digest, config.digest)
    write_layout(
        out,
        root=layout.root,
        documents=[layout.blob(digest).read_bytes() for digest in digests],
        links={layer.digest: layout.blob(layer.digest) for layer in layers},
    )
    return root.digest


@tool("oci_pull")
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="directory of the pulled image")
    parser.add_argument("--output", type=Path, required=True, help="layout directory to write")
    parser.add_argument("--digest-output", type=Path, required=True, help="file for the digest")
    parser.add_argument("--label", required=True, help="the target, for messages")
    flags = parser.parse_args(argv)
    with prefixed(flags.label):
        write_digest(flags.digest_output, relink(flags.input, flags.output))


if __name__ == "__main__":
    sys.exit(main())
