"""Read an image's metadata of Debian packages as scanners do, and find where it is not true.

`/var/lib/dpkg/status.d/NAME` is a stanza of dpkg's status file, and `NAME.md5sums` beside it a link
to the package's sums in `/var/lib/dpkg/info`; configuration files stand in the stanza's Conffiles,
as dpkg has them there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from debian.deb822 import Deb822

from tools.apt.lockfile import LockedPackage
from tools.cli import ToolError
from tools.image.image_files import ImageFiles

DIRECTORY = "/var/lib/dpkg/status.d"
_INFO = "/var/lib/dpkg/info"
_SUMS = ".md5sums"
_STATUS = "install ok installed"


@dataclass(frozen=True)
class Package:
    """One package as the image has it; `sums` are MD5 by path, configuration files included."""

    name: str
    version: str
    architecture: str
    status: str
    sums: Mapping[str, str]


@dataclass(frozen=True)
class Debian:
    """All packages by name, the owner of each of their files, and the files of the list itself."""

    packages: Mapping[str, Package]
    files: Mapping[str, str]
    own: frozenset[str]
    twice: tuple[str, ...] = ()


def is_metadata(path: str) -> bool:
    """Return whether this module reads the file's content."""
    directory = posixpath.dirname(path)
    return directory == DIRECTORY or (directory == _INFO and path.endswith(_SUMS))


def read(image: ImageFiles, *, unreadable: Callable[[ToolError], object] | None = None) -> Debian:
    """Read all entries. Raise ToolError for one that its reader does not take.

    With `unreadable`, such an entry is left out, and the error goes there.
    """
    own = sorted(path for path in image.files if is_metadata(path))
    packages: dict[str, Package] = {}
    files: dict[str, str] = {}
    twice: list[str] = []
    for path in own:
        if path.endswith(_SUMS):
            continue
        try:
            package = _package(path, image)
        except ToolError as error:
            if unreadable is None:
                raise
            unreadable(error)
            continue
        packages[package.name] = package
        twice += [
            f"{name}: both {files[name]} and {package.name} claim it"
            for name in package.sums
            if files.setdefault(name, package.name) != package.name
        ]
    return Debian(packages, files, frozenset(own), tuple(twice))


def _package(path: str, image: ImageFiles) -> Package:
    fields = Deb822(_text(path, image))
    try:
        name, version = fields["Package"], fields["Version"]
        architecture, status = fields["Architecture"], fields["Status"]
    except KeyError as error:
        raise ToolError(f"{path}: the stanza has no field {error}") from error
    if posixpath.basename(path) != name:
        raise ToolError(f"{path}: is the stanza of package {name!r}")
    sums_path = image.realpath(path + _SUMS)
    if sums_path is None:
        raise ToolError(
            f"{path}{_SUMS}: missing; scanners could not tell which files are the package's"
        )
    sums: dict[str, str] = {}
    for line in _text(sums_path, image).splitlines():
        digest, separator, file = line.partition("  ")
        if not separator or len(digest) != 32:
            raise ToolError(f"{sums_path}: {line!r} is not 'SUM  PATH'")
        sums[f"/{file}"] = digest
    for line in fields.get("Conffiles", "").strip().splitlines():
        words = line.split()
        if len(words) != 2 or not words[0].startswith("/"):
            raise ToolError(f"{path}: Conffiles: {line!r} is not '/PATH SUM'")
        sums[words[0]] = words[1]
    return Package(name, version, architecture, status, sums)


def _text(path: str, image: ImageFiles) -> str:
    try:
        return image.read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(f"{path}: is not UTF-8: {error}") from error


def deviations(
    image: ImageFiles, found: Debian, wanted: Mapping[str, LockedPackage]
) -> Iterator[str]:
    """Yield a sentence for each difference between image, lock and bytes."""
    for name in sorted(wanted.keys() - found.packages.keys()):
        yield f"{DIRECTORY}/{name}: missing, though the lock has {name} {wanted[name].version}"
    for name in sorted(found.packages.keys() - wanted.keys()):
        yield f"{DIRECTORY}/{name}: package {name} is not in the lock's groups of this image"
    for name in sorted(wanted.keys() & found.packages.keys()):
        yield from _differences(found.packages[name], wanted[name])
    for path in sorted(found.own):
        if path.startswith(f"{DIRECTORY}/") and path.endswith(_SUMS):
            yield f"{path}: is a file, and scanners take it for a stanza; link to {_INFO}"
        elif path.endswith(_SUMS) and posixpath.basename(path)[: -len(_SUMS)] not in found.packages:
            yield f"{path}: there is no {DIRECTORY}/{posixpath.basename(path)[: -len(_SUMS)]}"
    yield from found.twice
    for name, package in sorted(found.packages.items()):
        if image.realpath(f"/usr/share/doc/{name}/copyright") is None:
            yield f"/usr/share/doc/{name}/copyright: missing, neither a file nor a link"
        for path, digest in package.sums.items():
            file = image.files.get(path)
            if file is None:
                yield f"{path}: package {name} claims it, but it is missing"
            elif file.md5 != digest:
                yield f"{path}: has MD5 {file.md5}, package {name} says {digest}"
    if "/var/lib/dpkg/status" in image.files:
        yield "/var/lib/dpkg/status: exists beside status.d; scanners would count twice"


def _differences(package: Package, wanted: LockedPackage) -> Iterator[str]:
    # `arch` is what a package is locked for; only its file's name tells whether it is for all.
    architecture = wanted.filename.removesuffix(".deb").rpartition("_")[2]
    for field, found, locked in (
        ("Version", package.version, wanted.version),
        ("Architecture", package.architecture, architecture),
        ("Status", package.status, _STATUS),
    ):
        if found != locked:
            yield f"{DIRECTORY}/{package.name}: {field} is {found!r}, the lock says {locked!r}"
