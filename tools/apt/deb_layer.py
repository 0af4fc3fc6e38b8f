r"""Merge the data of Debian packages into one image layer; no maintainer script runs.

    python3 -m tools.apt.deb_layer --lock bookworm.lock.json --deb libc6.deb --deb dash.deb \
        --out base.tar.gz --descriptor base.json --listing base.debs.json

The same packages and lock give the same bytes. The layer holds the packages' files, usr-merged and
without the lock's excluded paths; for each package the entry by which scanners see it; and with
base-files the links of the root (`file_system.py`). The listing says what is in the packages.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.apt import dpkg_status, file_system
from tools.apt.deb_contents import Member, Package, read_packages
from tools.apt.deb_listing import listing_json
from tools.apt.layer_policy import read_policy
from tools.archive.layer import LayerWriter, add_layer_flags, read_content
from tools.cli import ToolError, tool
from tools.linux.architectures import ARCHITECTURES


def compose(packages: Sequence[Package], *, mtime: int) -> LayerWriter:
    """Return the layer of these packages, ready to be written.

    Raise ToolError when two of them ship different things at one path, and for a path that a layer
    cannot have.
    """
    layer = LayerWriter(mtime=mtime)
    owners: dict[str, str] = {}
    for package in packages:
        for path, member in package.members.items():
            if package.name == file_system.CARRIER and path in file_system.VAR_LINKS:
                continue
            try:
                add_member(layer, member)
            except ToolError as error:
                if path not in owners:
                    raise ToolError(f"{package.name}: {error}") from error
                raise ToolError(
                    f"{path}: packages {owners[path]!r} and {package.name!r} both ship it: "
                    f"{error}; leave one of them out of the image, or exclude the path in the "
                    "lock's intent"
                ) from error
            owners.setdefault(path, package.name)
        dpkg_status.add_entry(layer, package)
        if package.name == file_system.CARRIER:
            for path, target in _root_links(package).items():
                layer.add_symlink(path, target)
    return layer


def _root_links(package: Package) -> dict[str, str]:
    try:
        return file_system.root_links(package.architecture)
    except KeyError:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ToolError(
            f"{package.source}: is for {package.architecture!r}; images can be made for {known}"
        ) from None


def add_member(layer: LayerWriter, member: Member) -> None:
    """Add a package's member to a layer; the member's content must have been read."""
    if member.kind == "dir":
        layer.add_dir(member.path, mode=member.mode, uid=member.uid, gid=member.gid)
    elif member.kind == "symlink":
        layer.add_symlink(member.path, member.target, uid=member.uid, gid=member.gid)
    elif member.kind == "hardlink":
        layer.add_hardlink(member.path, member.target)
    elif member.data is None:
        raise ToolError(f"{member.path}: its content was not read")
    else:
        layer.add_file(member.path, member.data, mode=member.mode, uid=member.uid, gid=member.gid)


def read_symlinks(path: Path) -> dict[str, str]:
    """Read the links to add, target by path in the layer. Raise ToolError."""
    symlinks = read_content(path, keys=("symlinks",))["symlinks"]
    for place, target in symlinks.items():
        if not (place.startswith("/") and target):
            raise ToolError(f"the link {place!r} to {target!r} needs an absolute path and a target")
    return {place.lstrip("/"): target for place, target in symlinks.items()}


@tool("deb_layer")
def main(argv: list[str] | None = None) -> None:
    """Build a layer; print one line and return 1 when the packages do not allow it."""
    parser = argparse.ArgumentParser(
        description="Merge Debian packages into one deterministic image layer.",
        fromfile_prefix_chars="@",
    )
    parser.add_argument("--lock", type=Path, required=True, help="lock or policy file of a lock")
    parser.add_argument("--deb", type=Path, action="append", required=True, help="a package")
    parser.add_argument(
        "--content", type=Path, help='JSON with links besides the packages\' own: {"symlinks": {}}'
    )
    parser.add_argument("--listing", type=Path, help="to write for `system_layer`")
    add_layer_flags(parser)
    options = parser.parse_args(argv)
    policy = read_policy(options.lock)
    packages = read_packages(options.deb, exclusions=policy.exclusions, jobs=options.jobs)
    layer = compose(packages, mtime=policy.mtime)
    symlinks = read_symlinks(options.content) if options.content else {}
    for path, target in symlinks.items():
        layer.add_symlink(path, target)
    if options.listing:
        listing = listing_json(packages, excluded=policy.excluded_globs)
        options.listing.write_text(listing, encoding="utf-8")
    layer.write(options.out, options.descriptor, jobs=options.jobs, level=options.level)


if __name__ == "__main__":
    sys.exit(main())
