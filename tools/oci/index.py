"""Images of several platforms → one layout whose root is an OCI image index.

    index --image amd64 --image arm64 --output out --digest-output out.json.sha256 --label //app:all

Follows image-spec 1.1 (image-index.md). The children's blobs are linked, not copied; children of
Docker's media types are listed as they are. Same inputs, same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, read_text, tool
from tools.image import spec
from tools.image.layout import Image, blob_path, read_layout
from tools.image.platform import index_platform, normalize, platform_text
from tools.oci.edits import parse_pairs
from tools.oci.layout_writer import document, write_digest, write_layout
from tools.oci.prefix import prefixed
from tools.worker import run


@dataclass(frozen=True)
class Child:
    """One image of the index and the layout directory it is in."""

    path: Path
    image: Image


def make_index(children: Sequence[Child], annotations: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the index document; raise ToolError when two images are for one platform."""
    seen: dict[bytes, Path] = {}
    manifests = []
    for child in children:
        config = child.image.config
        # Windows has one image of a platform for each of its versions.
        versions = [config.get("os.version"), config.get("os.features")]
        key = spec.encode_json([normalize(platform_text(config)), *versions])
        if key in seen:
            raise ToolError(
                f"{seen[key]} and {child.path} are both for {_shown(config)}; "
                "a client would never choose the second"
            )
        seen[key] = child.path
        size = blob_path(child.path, child.image.digest).stat().st_size
        entry = spec.Descriptor(child.image.media_type, child.image.digest, size).to_json()
        manifests.append({**entry, "platform": index_platform(config)})
    index = {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": manifests}
    return {**index, "annotations": dict(annotations)} if annotations else index


def links_of(child: Child) -> dict[str, Path]:
    """Return the file of every blob of a child, by digest."""
    digests = [child.image.digest, child.image.manifest["config"]["digest"]]
    digests += [layer.digest for layer in child.image.layers]
    return {digest: blob_path(child.path, digest) for digest in digests}


def _shown(config: dict[str, Any]) -> str:
    version = config.get("os.version")
    return platform_text(config) + (f"/{version}" if version else "")


@tool("oci_image_index")
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--image", type=Path, action="append", required=True, help="layout directory of an image")
    add("--annotations", type=Path, metavar="FILE", help="key=value lines")
    add("--output", type=Path, required=True, help="layout directory to write")
    add("--digest-output", type=Path, required=True, help="file for the index's digest")
    add("--label", required=True, help="the target, for messages")
    flags = parser.parse_args(argv)
    with prefixed(flags.label):
        text = read_text(flags.annotations) if flags.annotations else ""
        children = [Child(path, read_layout(path)) for path in flags.image]
        index = make_index(children, parse_pairs(text, what="annotations"))
        root, data = document(index, media_type=spec.OCI_INDEX)
        links = {digest: file for child in children for digest, file in links_of(child).items()}
        write_layout(flags.output, root=root, documents=[data], links=links)
        write_digest(flags.digest_output, root.digest)


if __name__ == "__main__":
    sys.exit(run(main))
