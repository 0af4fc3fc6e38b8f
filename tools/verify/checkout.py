"""What this checkout makes, as the BUILD file's target hands it to the programs here.

{"layouts": ["pinned_image/backend/index"], "debs": ["debian_amd64_libc6/libc6_….deb"]}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.cache import default_root
from tools.image.platform import normalize, platform_text
from tools.image.scratch import scratch_directory
from tools.verify.subject import Subject, open_local

NAME = "this checkout"


@dataclass(frozen=True)
class Checkout:
    """The images, and the .deb files that those of this machine's architecture are made from."""

    subjects: tuple[Subject, ...]
    debs: tuple[Path, ...] = ()

    def known(self) -> dict[str, str]:
        """Return what each digest is that this checkout makes."""
        known: dict[str, str] = {}
        for subject in self.subjects:
            if subject.index is not None:
                platforms = " and ".join(entry.platform for entry in subject.entries)
                known[subject.digest] = f"the image index of {platforms}"
            for entry in subject.entries:
                platform = entry.platform or normalize(platform_text(entry.read().config))
                known.setdefault(entry.digest, f"the image of {platform}")
        return known


def target_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what the target passes; `read_target` takes it."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--runfiles", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, required=True, help=argparse.SUPPRESS)
    return parser


def read_target(runfiles: Path, target: Path) -> dict[str, Any]:
    """Return what the rule wrote about its target."""
    content: dict[str, Any] = json.loads((runfiles / target).read_bytes())
    return content


def open_checkout(target: Mapping[str, Any], runfiles: Path, scratch: Path) -> Checkout:
    """Return what this checkout makes; raise LayoutError."""
    subjects = (
        open_local(runfiles / layout, name=NAME, scratch=scratch) for layout in target["layouts"]
    )
    return Checkout(tuple(subjects), tuple(runfiles / deb for deb in target.get("debs", [])))


@contextlib.contextmanager
def directories() -> Iterator[tuple[Path, Path]]:
    """Yield the user's directory, and an empty one that is deleted at the end."""
    # `bazel run` starts programs in another directory and passes the user's.
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY") or Path.cwd())
    with scratch_directory(default_root().parent / "verify") as scratch:
        yield here, scratch
