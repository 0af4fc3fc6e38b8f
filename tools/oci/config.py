"""An OCI layout -> the same image with a healthcheck, stop signal, shell or other media types.

    config --input image --output out --digest-output out.json.sha256 --label //backend:image \
        --healthcheck=CMD --healthcheck=python3 --healthcheck=-mapp.healthcheck \
        --healthcheck-interval 30s

Takes any layout, whoever made it. Layers stay where they are: only JSON and links are written.
What would lose the healthcheck at run time is refused. Same inputs, same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.image.layout import Image, LayoutError, read_layout
from tools.oci.healthcheck import (
    ConfigError,
    Healthcheck,
    choose_media_types,
    convert_manifest,
    parse_duration,
    set_healthcheck,
    set_process,
)
from tools.oci.image import Assembled, make_manifest, write_image

# Members of Healthcheck that are durations; their flags have "healthcheck-" in front.
_DURATIONS = ("interval", "timeout", "start_period", "start_interval")


def configure(
    image: Image,
    *,
    healthcheck: Healthcheck,
    stop_signal: str | None = None,
    shell: tuple[str, ...] | None = None,
    media_types: str | None = None,
    allow_ignored_healthcheck: bool = False,
) -> Assembled:
    """The image with the given changes; raises ConfigError."""
    config = set_healthcheck(image.config, healthcheck)
    config = set_process(config, stop_signal=stop_signal, shell=shell)
    docker = choose_media_types(
        config,
        present=image.media_type,
        asked=media_types,
        allow_ignored_healthcheck=allow_ignored_healthcheck,
    )
    media_type, config_type, layers = convert_manifest(image.manifest, docker=docker)
    manifest = make_manifest(config, config_type=config_type, media_type=media_type, layers=layers)
    if image.manifest.get("annotations"):
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
    add("--healthcheck", action="append", metavar="ARG", help="CMD, CMD-SHELL or NONE; then more")
    for name in _DURATIONS:
        add(
            "--healthcheck-" + name.replace("_", "-"),
            metavar="DURATION",
            help="such as 30s or 1m30s",
        )
    add(
        "--healthcheck-retries",
        type=int,
        help="failures in a row that make the container unhealthy",
    )
    add("--stop-signal", help="such as SIGTERM")
    add("--shell", action="append", metavar="ARG", help="what runs CMD-SHELL, e.g. /bin/sh, -c")
    add("--media-types", choices=("docker", "oci"), help="default: docker with a healthcheck")
    add("--allow-ignored-healthcheck", action="store_true")
    return parser


def _duration(flags: argparse.Namespace, name: str) -> int | None:
    flag = f"healthcheck_{name}"
    text: str | None = getattr(flags, flag)
    return None if text is None else parse_duration(text, what=flag)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    flags = _parser().parse_args(argv)
    try:
        durations = {name: _duration(flags, name) for name in _DURATIONS}
        healthcheck = Healthcheck(
            test=tuple(flags.healthcheck) if flags.healthcheck else None,
            retries=flags.healthcheck_retries,
            **durations,
        )
        image = configure(
            read_layout(flags.input),
            healthcheck=healthcheck,
            stop_signal=flags.stop_signal,
            shell=tuple(flags.shell) if flags.shell else None,
            media_types=flags.media_types,
            allow_ignored_healthcheck=flags.allow_ignored_healthcheck,
        )
        write_image(image, output=flags.output, digest_output=flags.digest_output)
    except (ConfigError, LayoutError, OSError) as error:
        print(f"ERROR: {flags.label}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
