"""An OCI layout → the same image with a healthcheck, stop signal, shell or other media types.

    config --input image --output out --digest-output out.json.sha256 --label //backend:image \
        --healthcheck '["CMD", "python3", "-mapp.healthcheck"]' --healthcheck-interval 30s

Takes the layout of any ruleset. Layers are not copied: only JSON and links are written. Settings
that would lose the healthcheck at run time are an error. Annotations of a base are left out of a
Docker manifest, with a note. Same inputs, same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from tools.cli import parse_json, read_text, tool
from tools.image.layout import Image, read_layout
from tools.oci.edits import parse_pairs
from tools.oci.healthcheck import (
    Healthcheck,
    choose_media_types,
    convert_manifest,
    lost_annotations,
    parse_duration,
    set_healthcheck,
    set_process,
)
from tools.oci.image import Assembled, make_manifest, write_image
from tools.oci.prefix import prefixed
from tools.worker import run

# The durations of a Healthcheck; their flags are prefixed with "healthcheck-".
_DURATIONS = ("interval", "timeout", "start_period", "start_interval")


def configure(
    image: Image,
    *,
    healthcheck: Healthcheck,
    stop_signal: str | None = None,
    shell: tuple[str, ...] | None = None,
    media_types: str | None = None,
    allow_ignored_healthcheck: bool = False,
    own_annotations: Collection[str] = (),
    note: Callable[[str], None] = lambda _: None,
) -> Assembled:
    """Return the image with the given changes; raise ToolError for those that cannot work.

    `note` gets what the image loses without its user having asked for it.
    """
    config = set_healthcheck(image.config, healthcheck)
    config = set_process(config, stop_signal=stop_signal, shell=shell)
    docker = choose_media_types(
        config,
        present=image.media_type,
        asked=media_types,
        allow_ignored_healthcheck=allow_ignored_healthcheck,
    )
    lost = lost_annotations(image.manifest, docker=docker, own=own_annotations)
    if lost:
        note(
            "Docker's manifests have no annotations, so the base image's are left out: "
            f"{', '.join(lost)}"
        )
    media_type, config_type, layers = convert_manifest(image.manifest, docker=docker)
    manifest = make_manifest(config, config_type=config_type, media_type=media_type, layers=layers)
    if image.manifest.get("annotations") and not docker:
        manifest["annotations"] = image.manifest["annotations"]
    links = {layer.digest: layer.path for layer in image.layers}
    return Assembled(config=config, manifest=manifest, links=links)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--input", type=Path, required=True, help="layout directory of the image")
    add("--output", type=Path, required=True, help="layout directory to write")
    add("--digest-output", type=Path, required=True, help="file for the manifest's digest")
    add("--label", required=True, help="the target, for messages")
    add(
        "--healthcheck",
        type=_words,
        metavar="JSON",
        help="list of strings: CMD, CMD-SHELL or NONE, then its arguments",
    )
    for name in _DURATIONS:
        add(
            "--healthcheck-" + name.replace("_", "-"),
            metavar="DURATION",
            help="such as 30s or 1m30s",
        )
    add(
        "--healthcheck-retries",
        type=int,
        help="consecutive failures that make the container unhealthy",
    )
    add("--stop-signal", help="such as SIGTERM")
    add("--shell", type=_words, metavar="JSON", help='shell of CMD-SHELL: ["/bin/sh", "-c"]')
    add("--media-types", choices=("docker", "oci"), help="default: docker with a healthcheck")
    add(
        "--allow-ignored-healthcheck",
        action="store_true",
        help="allow media types from which podman ignores the healthcheck",
    )
    add(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="key=value lines: annotations that the build has set, not a base it has fetched",
    )
    return parser


def _words(text: str) -> tuple[str, ...]:
    words = parse_json(text)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise argparse.ArgumentTypeError(f"must be a JSON list of strings, found {text}")
    return tuple(words)


def _duration(flags: argparse.Namespace, name: str) -> int | None:
    flag = f"healthcheck_{name}"
    text: str | None = getattr(flags, flag)
    return None if text is None else parse_duration(text, what=flag)


@tool("oci_image_config")
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    flags = _parser().parse_args(argv)
    with prefixed(flags.label):
        durations = {name: _duration(flags, name) for name in _DURATIONS}
        healthcheck = Healthcheck(
            test=flags.healthcheck or None,
            retries=flags.healthcheck_retries,
            **durations,
        )
        image = configure(
            read_layout(flags.input),
            healthcheck=healthcheck,
            stop_signal=flags.stop_signal,
            shell=flags.shell or None,
            media_types=flags.media_types,
            allow_ignored_healthcheck=flags.allow_ignored_healthcheck,
            own_annotations=[
                name
                for file in flags.annotations
                for name, _ in parse_pairs(read_text(file), what="annotations")
            ],
            note=lambda text: print(f"note: {flags.label}: {text}", file=sys.stderr),
        )
        write_image(image, output=flags.output, digest_output=flags.digest_output)


if __name__ == "__main__":
    sys.exit(run(main))
