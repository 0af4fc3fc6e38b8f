"""An OCI layout → docker, podman or nerdctl on this machine, or a tar file.

    bazel run //backend:load
    load --layout image --repo-tags tags.txt --output image.tar

Podman and Docker are sent only the layers they lack. Everything else gets an archive, streamed; no
tar is written to disk. Same inputs, same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tools.cli import ToolError, read_text, tool
from tools.image.archive import (
    Member,
    docker_archive,
    docker_members,
    oci_archive,
    write_archive,
)
from tools.image.layout import Image, blob_path, read_layout
from tools.image.names import check_image_name
from tools.oci import engines, missing_layers
from tools.oci.engines import NoEngineError
from tools.oci.missing_layers import Engine, WholeImageNeededError

_ENGINES = ("docker", "podman", "nerdctl")
_FORMATS = {"docker": docker_archive, "oci": oci_archive}


@dataclass(frozen=True)
class Request:
    """What to load. Without a `loader`, the first engine on PATH that works is used."""

    layout: Path
    tags: tuple[str, ...]
    format: str = "docker"
    loader: Path | None = None

    def members(self) -> list[Member]:
        """Return the members of the archive; raise LayoutError."""
        return _FORMATS[self.format](self.layout, self.tags)


def choose_engine(environ: Mapping[str, str]) -> str:
    """Return the engine to load into: the first that works of those on PATH.

    With several, one whose daemon is down is skipped and reported. Raise ToolError for none.
    """
    programs = engines.installed(_ENGINES, environ)
    if not programs:
        raise ToolError(
            f"none of {', '.join(_ENGINES)} is on PATH; install one, or set the attribute 'loader'"
        )
    if len(programs) == 1:
        # Its own message, when it is called, is the best one.
        return programs[0]
    try:
        found = engines.find_engine(programs, environ)
    except NoEngineError as error:
        raise ToolError(
            f"no container engine works; start one, or set the attribute 'loader'. {error}"
        ) from error
    for reason in found.skipped:
        print(f"skipped {reason}", file=sys.stderr)
    print(f"loading into {found.program}", file=sys.stderr)
    return found.program


def load(request: Request, *, environ: Mapping[str, str]) -> int:
    """Load the image and return the engine's exit code. Raise ToolError or OSError."""
    members = request.members()
    if request.loader is None:
        engine = Engine(choose_engine(environ), environ)
        try:
            return _load_missing(request, engine)
        except WholeImageNeededError as error:
            print(f"{error}; loading the whole image", file=sys.stderr)
        return _stream(members, [engine.program, "load"], environ=environ)
    # A loader gets a path, as upstream's does, but to a file: podman reads its input repeatedly.
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        with archive.file as stream:
            write_archive(members, stream)
        command = [str(request.loader), "load", "--input", archive.name]
        return subprocess.run(command, env=dict(environ), check=False).returncode


def _load_missing(request: Request, engine: Engine) -> int:
    """Load the layers that the engine lacks; return its exit code.

    Raise WholeImageNeededError when it has to be given all of them.
    """
    if request.format != "docker":
        raise WholeImageNeededError("an archive with format = 'oci' holds every layer")
    image = read_layout(request.layout)
    if engine.name == "podman":
        code = missing_layers.pull_into_podman(engine, request.layout, image, request.tags)
        if code == 0:
            print(f"Loaded image: {', '.join(request.tags) or image.digest}")
        return code
    if engine.name != "docker":
        raise WholeImageNeededError(f"{engine.name} does not tell which layers it has")
    return _load_into_docker(request, image, engine)


def _load_into_docker(request: Request, image: Image, docker: Engine) -> int:
    present = missing_layers.layers_in_docker(docker, image, request.tags)
    config = blob_path(request.layout, image.manifest["config"]["digest"])
    members = docker_members(image, config, request.tags, present=present)
    code = _stream(members, [docker.program, "load"], environ=docker.environ)
    if code and present:
        raise WholeImageNeededError(
            f"docker did not take the missing layers alone (exit code {code})"
        )
    return code


def _stream(members: Sequence[Member], command: list[str], *, environ: Mapping[str, str]) -> int:
    """Write the archive to a program's standard input and return its exit code."""
    engine = subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(environ))
    stream = cast("IO[bytes]", engine.stdin)
    try:
        with stream:
            write_archive(members, stream)
    except BrokenPipeError:
        # The engine gave up; its exit code and its own message say why.
        code = engine.wait()
        if code == 0:
            raise ToolError(
                f"{command[0]} stopped reading the image and still reported success"
            ) from None
        return code
    except BaseException:
        engine.kill()
        engine.wait()
        raise
    return engine.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="load", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--runfiles", type=Path, help=argparse.SUPPRESS)
    add("--target", type=Path, help=argparse.SUPPRESS)
    add("--layout", type=Path, help="the layout to load; the target sets it")
    add("--repo-tags", type=Path, metavar="FILE", help="names for the image, one a line")
    add("--format", choices=sorted(_FORMATS), default="docker", help="default docker")
    add("--loader", type=Path, help="program to run instead of docker, podman or nerdctl")
    add("--output", type=Path, metavar="FILE", help="write a tar instead of loading")
    return parser


def make_request(flags: argparse.Namespace) -> Request:
    """Join the flags with the attributes of the target; raise ToolError or OSError.

    `--target` is the JSON file that the rule wrote; its paths are relative to `--runfiles`.
    """
    root = flags.runfiles or Path()
    target = json.loads((root / flags.target).read_bytes()) if flags.target else {}
    layout = flags.layout or (root / target["layout"] if "layout" in target else None)
    tags = flags.repo_tags or (root / target["repo_tags"] if "repo_tags" in target else None)
    loader = flags.loader or (root / target["loader"] if target.get("loader") else None)
    form = target.get("format", flags.format)
    if layout is None or tags is None:
        raise ToolError("no image to load; pass --layout and --repo-tags")
    return Request(
        layout=layout,
        tags=read_tags(read_text(tags).splitlines(), tag_needed=form == "docker"),
        format=form,
        loader=loader,
    )


def read_tags(lines: Sequence[str], *, tag_needed: bool) -> tuple[str, ...]:
    """Return the names for the image, without blank lines or repetitions, in their order.

    Raise ToolError for one that engines would refuse.
    """
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    for name in names:
        check_image_name(name, tag_needed=tag_needed)
    return names


@tool("oci_load")
def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the engine's exit code, or 1 for an error of its own."""
    flags = _parser().parse_args(argv)
    request = make_request(flags)
    if flags.output is None:
        return load(request, environ=os.environ)
    with flags.output.open("wb") as stream:
        write_archive(request.members(), stream)
    return 0


if __name__ == "__main__":
    sys.exit(main())
