"""List every address that a build of this workspace may ask, from what its WORKSPACE declares.

    origins.py --repositories repositories.json --lock label=file …

An address has `<debian>`, `<debian-security>` or `<index>` in place of the machine's mirrors.
Guarantee: a repository of a kind that is not known here is an error, never left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, tool

Repository = Mapping[str, Any]
Locks = Mapping[str, Mapping[str, Any]]

# Repositories that are made of files of this workspace, or of what another repository fetched.
LOCAL_KINDS = frozenset(
    {
        "_declared",
        "_own_setup",
        "_setup",
        "_wheel_files",
        "_wheel_hub_alias",
        "apt_mirrors",
        "bind",
        "bundled_wheel",
        "deb_packages",
        "deb_pins",
        "debian_suite",
        "facade",
        "lint_sources",
        "local_repository",
        "missing_wheels",
        "pip_repository",
        "release_sources",
        "unpacked_wheel",
        "unused_library",
        "wheel_batch",
        "wheel_library",
        "wheel_program",
    }
)
# They download files that locks pin by sha256, and that other repositories declare one by one.
LOCKED_KINDS = frozenset({"deb_floating", "example_files"})
_SHA256_HEX_DIGITS = 64


@dataclass(frozen=True)
class Download:
    """One file: the repository that downloads it, its address, and the sha256 (hex) required."""

    repository: str
    url: str
    sha256: str


def downloads(repositories: Sequence[Repository], locks: Locks) -> list[Download]:
    """Return every download that the repositories may cause, sorted.

    Raise ToolError if a repository is of an unknown kind or a download is not pinned by a sha256.
    """
    found: list[Download] = []
    for repository in repositories:
        kind, name = repository["kind"], repository["name"]
        if kind in LOCAL_KINDS | LOCKED_KINDS:
            continue
        if kind not in _READERS:
            raise ToolError(
                f"repository {name} is a {kind}, which fetches from neither of the two origins; "
                "declare it from a Debian package or a wheel (third_party/README.md)"
            )
        found.extend(_READERS[kind](repository, locks))
    for download in found:
        if len(download.sha256) != _SHA256_HEX_DIGITS:
            raise ToolError(
                f"repository {download.repository}: {download.url} is not pinned by a sha256"
            )
    return sorted(set(found), key=lambda download: (download.url, download.repository))


def _debian(repository: str, package: Mapping[str, Any], snapshot: str) -> Iterator[Download]:
    archive, filename = package["archive"], package["filename"]
    yield Download(repository, f"<{archive}>/{filename}", package["sha256"])
    fallback = f"https://snapshot.debian.org/archive/{archive}/{snapshot}/{filename}"
    yield Download(repository, fallback, package["sha256"])


def _deb_file(repository: Repository, _locks: Locks) -> Iterator[Download]:
    return _debian(repository["name"], repository, repository["snapshot"])


def _lock_of(repository: Repository, locks: Locks) -> Mapping[str, Any]:
    label = repository["lock"].lstrip("@").partition("//")[2]
    if label not in locks:
        raise ToolError(f"repository {repository['name']}: its lock //{label} was not given")
    return locks[label]


def _deb_archive(repository: Repository, locks: Locks) -> Iterator[Download]:
    lock = _lock_of(repository, locks)
    for package in lock["packages"]:
        if package["name"] == repository["package"]:
            yield from _debian(
                repository["name"], package, package.get("snapshot", lock["snapshot"])
            )


def _deb_tree(repository: Repository, locks: Locks) -> Iterator[Download]:
    lock = _lock_of(repository, locks)
    groups = [lock["groups"][group] for group in repository["groups"]]
    for package in lock["packages"]:
        if any(package["name"] in group.get(package["arch"], []) for group in groups):
            yield from _debian(
                repository["name"], package, package.get("snapshot", lock["snapshot"])
            )


def _wheel_file(repository: Repository, _locks: Locks) -> Iterator[Download]:
    yield Download(repository["name"], f"<index>/…/{repository['filename']}", repository["sha256"])


_READERS: Mapping[str, Callable[[Repository, Locks], Iterator[Download]]] = {
    "deb_archive": _deb_archive,
    "deb_file": _deb_file,
    "deb_tree": _deb_tree,
    "wheel_file": _wheel_file,
}


@tool("origins")
def main(argv: Sequence[str] | None = None) -> None:
    """Print the list, one download a line; return 1 if a repository's origin is not allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repositories", type=Path, required=True)
    parser.add_argument("--lock", action="append", default=[], metavar="PACKAGE:FILE=PATH")
    args = parser.parse_args(argv)
    locks = {}
    for pair in args.lock:
        label, _, path = pair.partition("=")
        locks[label] = json.loads(Path(path).read_text(encoding="utf-8"))
    found = downloads(json.loads(args.repositories.read_text(encoding="utf-8")), locks)
    for download in found:
        print(f"{download.sha256}  {download.url}  ({download.repository})")


if __name__ == "__main__":
    sys.exit(main())
