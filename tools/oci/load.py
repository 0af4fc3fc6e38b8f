"""An OCI layout -> docker, podman or nerdctl on this machine, or a tar file.

    bazel run //backend:load
    load --layout image --repo-tags tags.txt --output image.tar

The archive is made while the engine reads it, and no tar is left on disk. Same inputs, same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tools.image.archive import Member, docker_archive, oci_archive, write_archive
from tools.image.layout import LayoutError

_ENGINES = ("docker", "podman", "nerdctl")
# Seconds. A daemon that is being started by its socket takes some of them.
_INFO_TIMEOUT = 30.0
_FORMATS = {"docker": docker_archive, "oci": oci_archive}


class LoadError(Exception):
    """The image cannot be loaded; says why."""


@dataclass(frozen=True)
class Request:
    """What to load. Without a `loader` the first engine on PATH that works is used."""

    layout: Path
    tags: tuple[str, ...]
    format: str = "docker"
    loader: Path | None = None

    def members(self) -> list[Member]:
        """What goes into the archive; raises LayoutError."""
        return _FORMATS[self.format](self.layout, self.tags)


def find_engine(environ: Mapping[str, str]) -> str:
    """The first container engine on PATH that works; raises LoadError when there is none.

    Where there are several, one whose daemon does not run is passed over, and a line says so.
    """
    found = [path for name in _ENGINES if (path := shutil.which(name, path=environ.get("PATH")))]
    if not found:
        raise LoadError(
            f"none of {', '.join(_ENGINES)} is on PATH; install one, or set the attribute 'loader'"
        )
    if len(found) == 1:
        # What it says of itself when it is called is the best message.
        return found[0]
    complaints: list[str] = []
    for engine in found:
        complaint = _complaint(engine, environ=environ)
        if complaint is None:
            for passed in complaints:
                print(f"passed over {passed}", file=sys.stderr)
            print(f"loading into {engine}", file=sys.stderr)
            return engine
        complaints.append(f"{engine}: {complaint}")
    raise LoadError(
        f"no container engine works; start one, or set the attribute 'loader'. "
        f"{'; '.join(complaints)}"
    )


def _complaint(engine: str, *, environ: Mapping[str, str]) -> str | None:
    """Why an engine cannot be used, in its own words; None when it can."""
    try:
        run = subprocess.run(
            [engine, "info"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INFO_TIMEOUT,
            env=dict(environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"'info' gave no answer in {_INFO_TIMEOUT:.0f} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    if run.returncode == 0:
        return None
    lines = run.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"'info' ended with exit code {run.returncode}"


def load(request: Request, *, environ: Mapping[str, str]) -> int:
    """Load the image and give the engine's exit code; raises LayoutError, LoadError, OSError."""
    members = request.members()
    if request.loader is None:
        return _stream(members, [find_engine(environ), "load"], environ=environ)
    # A loader is given a path, as upstream does, but to a file: podman reads its input repeatedly.
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        with archive.file as stream:
            write_archive(members, stream)
        command = [str(request.loader), "load", "--input", archive.name]
        return subprocess.run(command, env=dict(environ), check=False).returncode


def _stream(members: Sequence[Member], command: list[str], *, environ: Mapping[str, str]) -> int:
    """Write the archive into a program's standard input and give its exit code."""
    engine = subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(environ))
    stream = cast("IO[bytes]", engine.stdin)
    try:
        with stream:
            write_archive(members, stream)
    except BrokenPipeError:
        # The engine gave up; its exit code and its own message say why.
        code = engine.wait()
        if code == 0:
            raise LoadError(f"{command[0]} stopped reading and reported success") from None
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
    """Join the flags with what the target says; raises LoadError and OSError.

    `--target` is the JSON file that the rule wrote; its paths are relative to `--runfiles`.
    """
    root = flags.runfiles or Path()
    target = json.loads((root / flags.target).read_bytes()) if flags.target else {}
    layout = flags.layout or (root / target["layout"] if "layout" in target else None)
    tags = flags.repo_tags or (root / target["repo_tags"] if "repo_tags" in target else None)
    loader = flags.loader or (root / target["loader"] if target.get("loader") else None)
    if layout is None or tags is None:
        raise LoadError("there is nothing to load. Please pass --layout and --repo-tags.")
    return Request(
        layout=layout,
        tags=read_tags(tags.read_text(encoding="utf-8").splitlines()),
        format=target.get("format", flags.format),
        loader=loader,
    )


def read_tags(lines: Sequence[str]) -> tuple[str, ...]:
    """Names for the image, without blank lines or repetitions, in their order."""
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the engine's exit code, or 1 for an error of its own."""
    flags = _parser().parse_args(argv)
    try:
        request = make_request(flags)
        if flags.output is None:
            return load(request, environ=os.environ)
        with flags.output.open("wb") as stream:
            write_archive(request.members(), stream)
    except (LayoutError, LoadError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
