"""Load an image into an engine that has most of its layers, without reading those again.

Podman copies from a directory what its storage lacks. Docker opens no layer of an archive whose
chain it has, so those at the start that it shares with an image of the same name are left out.
Either takes well under a second after a change of one layer; a whole archive takes many.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from tools.cli import ToolError
from tools.image import spec
from tools.image.layout import Image, blob_path


class WholeImageNeededError(ToolError):
    """An engine cannot be sent the missing layers alone; the message says why."""


@dataclass(frozen=True)
class Engine:
    """The path of an engine's program, and the environment to call it in."""

    program: str
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the program, such as podman."""
        return Path(self.program).name

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the engine, whatever its exit code; what it says on stderr is for the user."""
        return subprocess.run(
            [self.program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            env=dict(self.environ),
            check=False,
        )


def pull_into_podman(podman: Engine, layout: Path, image: Image, tags: Sequence[str]) -> int:
    """Copy the image from its layout and tag it; return the exit code of tagging.

    Raise WholeImageNeededError if Podman would drop the healthcheck, or cannot read files here.
    """
    if "Healthcheck" in image.config.get("config", {}) and image.media_type == spec.OCI_MANIFEST:
        raise WholeImageNeededError("podman drops a healthcheck from an image with OCI media types")
    with tempfile.TemporaryDirectory(prefix="oci_load-") as directory:
        link_blobs(layout, image, Path(directory))
        pulled = podman.call("pull", f"dir:{directory}")
    lines = pulled.stdout.split()
    if pulled.returncode or not lines:
        raise WholeImageNeededError(
            f"podman cannot pull from a directory (exit code {pulled.returncode})"
        )
    return podman.call("tag", lines[-1], *tags).returncode if tags else 0


def link_blobs(layout: Path, image: Image, directory: Path) -> None:
    """Lay out an image as containers-transports(5) has it for `dir:`, with links to its blobs."""
    (directory / "version").write_text("Directory Transport Version: 1.1\n", encoding="utf-8")
    (directory / "manifest.json").symlink_to(blob_path(layout, image.digest).resolve())
    config = image.manifest["config"]["digest"]
    for digest in {config, *(layer.digest for layer in image.layers)}:
        (directory / digest.partition(":")[2]).symlink_to(blob_path(layout, digest).resolve())


def layers_in_docker(docker: Engine, image: Image, tags: Sequence[str]) -> int:
    """Return how many of the image's first layers Docker has, in an image with one of the tags."""
    wanted = [layer.diff_id for layer in image.layers]
    # Silent: a name that Docker does not have yet is an error to it.
    asked = subprocess.run(
        [docker.program, "image", "inspect", "--format={{json .RootFS.Layers}}", *tags],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=dict(docker.environ),
        check=False,
    )
    return max((_common(wanted, line) for line in asked.stdout.splitlines()), default=0)


def _common(wanted: Sequence[str], line: str) -> int:
    """Return how many of `wanted` come first in the JSON list of a line; 0 for anything else."""
    try:
        present = json.loads(line)
    except ValueError:
        return 0
    if not isinstance(present, list):
        return 0
    pairs = zip(wanted, present, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
