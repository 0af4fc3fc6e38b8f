"""Layers, a base and edits → an OCI image layout of JSON and links.

    image --output out --digest-output out.json.sha256 --os linux --architecture amd64 \
        --label //app:image --layer //app:layer app.tar.gz app.descriptor.json --user 1000:1000

The API behind it is rules_oci's `oci_image`; the documents follow image-spec 1.1 (config.md,
manifest.md). Same inputs, same bytes: no clock, and one JSON encoder.
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
from tools.image.layout import Image, read_layout
from tools.oci import edits as parse
from tools.oci.descriptor import LayerDescriptor, read_descriptor
from tools.oci.edits import ImageEdits, apply_edits
from tools.oci.layout_writer import document, write_digest, write_layout
from tools.oci.prefix import prefixed
from tools.worker import run


@dataclass(frozen=True)
class NewLayer:
    """A layer to add: the label of its target, its file and its descriptor."""

    label: str
    path: Path
    descriptor: LayerDescriptor


@dataclass(frozen=True)
class Assembled:
    """An image's documents, and the file of each layer by digest."""

    config: dict[str, Any]
    manifest: dict[str, Any]
    links: dict[str, Path]


def scratch_config(*, os: str, architecture: str, variant: str | None) -> dict[str, Any]:
    """Return the config of an image without layers and edits."""
    config: dict[str, Any] = {
        "architecture": architecture,
        "config": {},
        "created": spec.EPOCH,
        "history": [],
        "os": os,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return {**config, "variant": variant} if variant else config


def assemble(
    config: dict[str, Any],
    *,
    base: Image | None,
    layers: Sequence[NewLayer],
    edits: ImageEdits,
) -> Assembled:
    """Return the image of `layers` and `edits` on top of `base`, whose config is `config`.

    A base of Docker's media types keeps them, since engines reject a manifest that mixes the two
    families. Raise ToolError for a layer that differs from its descriptor.
    """
    media_type = base.media_type if base else spec.OCI_MANIFEST
    docker = spec.is_docker(media_type)
    config = apply_edits(config, edits)
    rootfs = dict(parse.object_of(config, "rootfs"))
    rootfs["diff_ids"] = [
        *parse.list_of(rootfs, "diff_ids", str),
        *(layer.descriptor.diff_id for layer in layers),
    ]
    config["rootfs"] = {"type": "layers", **rootfs}
    history = [
        *_base_history(config, base),
        *(_history(f"bazel build {layer.label}") for layer in layers),
    ]
    if history:
        config["history"] = history
    links = {layer.digest: layer.path for layer in base.layers} if base else {}
    entries = list(base.manifest["layers"]) if base else []
    for layer in layers:
        _check_size(layer)
        found = layer.descriptor
        type_ = spec.layer_media_type(found.compression, docker=docker)
        entries.append({"mediaType": type_, "digest": found.digest, "size": found.size})
        links.setdefault(found.digest, layer.path)
    config_type = base.manifest["config"]["mediaType"] if base else spec.OCI_CONFIG
    manifest = make_manifest(config, config_type=config_type, media_type=media_type, layers=entries)
    inherited = parse.object_of(base.manifest, "annotations") if base else {}
    if annotations := {**inherited, **dict(edits.annotations)}:
        manifest["annotations"] = annotations
    return Assembled(config=config, manifest=manifest, links=links)


def make_manifest(
    config: dict[str, Any], *, config_type: str, media_type: str, layers: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the manifest of a config and its layers' descriptors."""
    descriptor, _ = document(config, media_type=config_type)
    return {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor.to_json(),
        "layers": layers,
    }


def write_image(image: Assembled, *, output: Path, digest_output: Path) -> None:
    """Write the layout directory and the digest file of an assembled image."""
    root, manifest = document(image.manifest, media_type=image.manifest["mediaType"])
    documents = [manifest, spec.encode_json(image.config)]
    write_layout(output, root=root, documents=documents, links=image.links)
    write_digest(digest_output, root.digest)


def _history(created_by: str) -> dict[str, Any]:
    return {"created": spec.EPOCH, "created_by": created_by}


def _base_history(config: dict[str, Any], base: Image | None) -> list[dict[str, Any]]:
    """Return the base's history, completed: readers reject one that leaves layers out."""
    history = parse.list_of(config, "history", dict)
    described = sum(1 for entry in history if not entry.get("empty_layer"))
    missing = (len(base.layers) if base else 0) - described
    return history + [_history("layer of the base image") for _ in range(missing)]


def _check_size(layer: NewLayer) -> None:
    try:
        size = layer.path.stat().st_size
    except OSError as error:
        raise ToolError(f"{layer.path}: layer cannot be read: {error.strerror}") from error
    if size != layer.descriptor.size:
        raise ToolError(
            f"{layer.path}: layer has {size} bytes, its descriptor says {layer.descriptor.size}; "
            "one of the two is out of date"
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else read_text(path)


def read_edits(flags: argparse.Namespace) -> ImageEdits:
    """Read the files that the flags name; raise ToolError or OSError."""
    entrypoint, cmd, created = _text(flags.entrypoint), _text(flags.cmd), _text(flags.created)
    return ImageEdits(
        entrypoint=None if entrypoint is None else parse.parse_arguments(entrypoint),
        cmd=None if cmd is None else parse.parse_arguments(cmd),
        env=parse.parse_pairs(_text(flags.env) or "", what="env"),
        labels=parse.parse_pairs(_text(flags.labels) or "", what="labels"),
        annotations=parse.parse_pairs(_text(flags.annotations) or "", what="annotations"),
        exposed_ports=parse.parse_ports(_text(flags.exposed_ports) or ""),
        volumes=parse.parse_set(_text(flags.volumes) or ""),
        user=flags.user,
        workdir=flags.workdir,
        created=None if created is None else parse.parse_time(created),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="layout directory to write")
    add("--digest-output", type=Path, required=True, help="file for the manifest's digest")
    add("--base", type=Path, help="layout directory of the base image")
    add("--os", help="operating system, without a base")
    add("--architecture", help="processor architecture, without a base")
    add("--variant", help="variant of the architecture, without a base")
    add("--label", required=True, help="the target, for messages")
    names = ("LABEL", "TAR", "DESCRIPTOR")
    add(
        "--layer",
        nargs=3,
        action="append",
        default=[],
        metavar=names,
        help="a layer, lowest first; LABEL goes into the history",
    )
    for name in ("entrypoint", "cmd"):
        add(f"--{name}", type=Path, metavar="FILE", help="one argument a line")
    for name in ("env", "labels", "annotations"):
        add(f"--{name}", type=Path, metavar="FILE", help="key=value lines")
    for name in ("exposed-ports", "volumes"):
        add(f"--{name}", type=Path, metavar="FILE", help="separated by commas")
    add("--created", type=Path, metavar="FILE", help="a time in RFC 3339")
    add("--user", help="user[:group], names or numbers")
    add("--workdir", help="working directory")
    return parser


@tool("oci_image")
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = _parser()
    flags = parser.parse_args(argv)
    if flags.base is None and not (flags.os and flags.architecture):
        parser.error("--os and --architecture are required without --base")
    with prefixed(flags.label):
        base = read_layout(flags.base) if flags.base else None
        config = (
            base.config
            if base
            else scratch_config(os=flags.os, architecture=flags.architecture, variant=flags.variant)
        )
        layers = [
            NewLayer(label, Path(tar), read_descriptor(Path(json)))
            for label, tar, json in flags.layer
        ]
        image = assemble(config, base=base, layers=layers, edits=read_edits(flags))
        write_image(image, output=flags.output, digest_output=flags.digest_output)


if __name__ == "__main__":
    sys.exit(run(main))
