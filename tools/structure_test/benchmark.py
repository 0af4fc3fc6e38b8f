"""Time static checks, and one extraction for each of them.

    bazel run //tools/structure_test:benchmark -- --image bazel-bin/backend/image_amd64

Upstream's tar driver extracts the whole image for each test. That is simulated by unpacking the
image into an empty directory a few times and multiplying the average by the number of checks.
Prints seconds and the ratio; fails when a check does, never because of a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tools.image.layout import Image
from tools.image.source import open_source
from tools.image.tree import Tree
from tools.image.unpack import scan, unpack
from tools.structure_test.checks import check_content, check_existence
from tools.structure_test.go_text import file_mode
from tools.structure_test.image_under_test import ImageUnderTest, open_image_under_test
from tools.structure_test.schema import FileContentTest, FileExistenceTest

T = TypeVar("T")
CONTENT_SHARE = 4  # One in this many checks reads a file.
MAX_CONTENT = 1 << 16  # Bytes of the largest file to read.


@dataclass(frozen=True)
class Times:
    """Seconds: to read the layers once, for all checks after that, and for one extraction."""

    checks: int
    reading: float
    checking: float
    extraction: float

    @property
    def ratio(self) -> float:
        """How many times longer one extraction for each check takes."""
        return self.checks * self.extraction / (self.reading + self.checking)


def measure(image: Image, *, count: int, extractions: int, scratch: Path) -> Times:
    """Measure `count` checks of the image; raise LayerError, or ValueError if one fails."""
    existences, contents = _tests(scan(image.layers), count)
    started = time.monotonic()
    with open_image_under_test(
        image, cache=None, files=[test.path for test in contents]
    ) as subject:
        read = time.monotonic()
        _check(subject, existences, contents)
        checked = time.monotonic()
    return Times(
        checks=len(existences) + len(contents),
        reading=read - started,
        checking=checked - read,
        extraction=_average(lambda: _extract(image, scratch), extractions),
    )


def _tests(tree: Tree, count: int) -> tuple[list[FileExistenceTest], list[FileContentTest]]:
    """Return passing checks, spread over the image: owners, modes, contents of small files."""
    entries = list(tree.entries())
    small = [path for path, e in entries if e.kind == "file" and 0 < e.size < MAX_CONTENT]
    looks = _spread(small, count // CONTENT_SHARE)
    paths = _spread(entries, count - len(looks))
    existences = [
        FileExistenceTest(
            name=path, path=path, permissions=file_mode(entry), uid=entry.uid, gid=entry.gid
        )
        for path, entry in paths
    ]  # fmt: skip
    contents = [
        FileContentTest(
            name=path,
            path=path,
            expected_contents=("(?s).",),
            excluded_contents=("no [s]uch words",),
        )
        for path in looks
    ]
    return existences, contents


def _spread(items: Sequence[T], count: int) -> list[T]:
    step = max(1, len(items) // max(1, count))
    return list(items[::step][:count])


def _check(
    subject: ImageUnderTest, existences: list[FileExistenceTest], contents: list[FileContentTest]
) -> None:
    outcomes = [check_existence(subject, test) for test in existences]
    outcomes += [check_content(subject, test) for test in contents]
    errors = [error for outcome in outcomes for error in outcome.errors]
    if errors:
        raise ValueError(f"a check failed: {errors[0]}")


def _extract(image: Image, scratch: Path) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        target = Path(folder, "rootfs")
        target.mkdir()
        unpack(image.layers, target)
        shutil.rmtree(target)


def _average(action: Callable[[], None], times: int) -> float:
    started = time.monotonic()
    for _ in range(times):
        action()
    return (time.monotonic() - started) / times


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description="Measure static checks of an image.")
    parser.add_argument("--image", type=Path, required=True, help="layout or archive")
    parser.add_argument("--checks", type=int, default=100)
    parser.add_argument("--extractions", type=int, default=3, help="how many to average over")
    flags = parser.parse_args(argv)
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "image")
        scratch.mkdir()
        with open_source(here / flags.image, platform="", scratch=scratch) as source:
            times = measure(
                source.image,
                count=flags.checks,
                extractions=flags.extractions,
                scratch=Path(folder),
            )
    print(
        f"layers read once          {times.reading:8.3f} s\n"
        f"{times.checks} checks after that  {times.checking:12.3f} s\n"
        f"one extraction            {times.extraction:8.3f} s\n"
        f"one extraction per check takes {times.ratio:.0f} times as long"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
