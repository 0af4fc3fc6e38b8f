r"""Prove that scanners see what is in an image: 100 % of the locks, no more and no less.

    python3 -m tools.proof.inventory --image bazel-bin/backend/image \
        --debian-lock third_party/debian/bookworm.lock.json \
        --python-lock third_party/python/requirements.amd64.txt [--allowlist inventory.yaml]

Reads the image back with the packages' own readers: python-debian for status.d, importlib.metadata
for dist-info. Names, versions and architectures have to be the locks'; sums and RECORDs have to fit
the bytes in the image; every package has its copyright file; and every file belongs to a package, a
wheel or an entry of the allowlist. Prints each deviation and returns 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.apt.lockfile import LockedPackage, read_lock
from tools.cli import ToolError, tool
from tools.image.image_files import ImageFiles, read_image
from tools.proof import debian_inventory, python_inventory
from tools.proof.allowlist import Allowlist, read_allowlist
from tools.wheels.lockfile import LockedWheel, parse_lock

KINDS = ("files",)
_OS_RELEASE = "/etc/os-release"


def is_metadata(path: str) -> bool:
    """Return whether the inventory reads this file's content."""
    return (
        debian_inventory.is_metadata(path)
        or python_inventory.is_metadata(path)
        or path.endswith("/os-release")
    )


def judge(
    image: ImageFiles,
    *,
    packages: Mapping[str, LockedPackage],
    wheels: tuple[LockedWheel, ...],
    allowlist: Allowlist,
    scratch: Path,
) -> list[str]:
    """Return a sentence for each deviation; `scratch` is an empty directory.

    Raise ToolError for metadata that its reader does not take.
    """
    debian = debian_inventory.read(image)
    python = python_inventory.read(image, scratch)
    problems = [
        *debian_inventory.deviations(image, debian, packages),
        *python_inventory.deviations(image, python, wheels),
        *_os_release(image, debian),
    ]
    owned = debian.files.keys() | python.files.keys() | debian.own
    problems += [
        f"{path}: in no package's md5sums or Conffiles and in no RECORD"
        for path in sorted(image.files.keys() - owned)
        if allowlist.reason("files", path) is None
    ]
    print(
        f"{image.architecture}: {len(debian.packages)} packages, {len(python.distributions)} "
        f"wheels, {len(image.files)} files"
    )
    return problems


def _os_release(image: ImageFiles, debian: debian_inventory.Debian) -> Iterator[str]:
    real = image.realpath(_OS_RELEASE)
    if real is None:
        yield f"{_OS_RELEASE}: missing; scanners cannot tell the distribution"
        return
    lines = image.read(real).decode("utf-8").splitlines()
    values = dict(text.split("=", 1) for line in lines for text in shlex.split(line, comments=True))
    if values.get("ID") != "debian":
        yield f"{_OS_RELEASE}: ID is {values.get('ID')!r}, wanted 'debian'"
    carrier = debian.packages.get("base-files")
    release = carrier.version.partition(".")[0] if carrier is not None else None
    if values.get("VERSION_ID") != release:
        yield f"{_OS_RELEASE}: VERSION_ID is {values.get('VERSION_ID')!r}, wanted {release!r}"


@tool("inventory")
def main(argv: list[str] | None = None) -> int:
    """Compare the image of the command line with its locks: 0 if they agree."""
    parser = argparse.ArgumentParser(
        description="Prove that an image's package metadata is exactly what its locks say."
    )
    add = parser.add_argument
    add("--image", type=Path, required=True, help="OCI layout directory")
    add("--debian-lock", type=Path, required=True, help="lock of Debian packages")
    add("--group", action="append", help="group of that lock; by default those of the image")
    add("--python-lock", type=Path, required=True, help="lock of wheels for the architecture")
    add("--allowlist", type=Path, action="append", default=[], help="YAML list, with reasons")
    options = parser.parse_args(argv)
    allowlist = read_allowlist(options.allowlist, kinds=KINDS)
    lock = read_lock(options.debian_lock)
    text = options.python_lock.read_text(encoding="utf-8")
    image = read_image(options.image, keep=is_metadata, elf=False, digests=True)
    try:
        packages = lock.image(image.architecture, options.group)
    except ToolError as error:
        raise ToolError(f"{options.debian_lock}: {error}") from error
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as scratch:
        problems = judge(
            image,
            packages=packages,
            wheels=parse_lock(text, source=str(options.python_lock)),
            allowlist=allowlist,
            scratch=Path(scratch),
        )
    problems += allowlist.idle()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
