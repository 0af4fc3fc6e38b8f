"""Who every path of an image belongs to, according to the image itself.

A file is a Debian package's by status.d, a wheel's by its RECORD; bytecode is its module's, a link
is its target's, a directory is its only user's. What is left was built for the image, and is named
after its layer.
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.cli import ToolError
from tools.image.image_files import ImageFiles
from tools.proof.debian_inventory import Debian
from tools.proof.python_inventory import Python

_BYTECODE = re.compile(r"(.*)/__pycache__/([^/]+)\.cpython-\d+\.pyc")


class Kind(enum.StrEnum):
    """What an owner is."""

    DEBIAN = "Debian package"
    PYTHON = "Python wheel"
    BUILT = "built here"
    DIRECTORIES = "shared directories"


@dataclass(frozen=True, order=True)
class Owner:
    """Something that brings files into the image; `version` is "" for what is built here."""

    kind: Kind
    name: str
    version: str = ""


SHARED = Owner(Kind.DIRECTORIES, "shared directories")


class Owners:
    """Answers whose a path is; built once for an image."""

    def __init__(self, image: ImageFiles, debian: Debian, python: Python) -> None:
        self._image = image
        packages = {
            name: Owner(Kind.DEBIAN, name, package.version)
            for name, package in debian.packages.items()
        }
        wheels = {
            each.name: Owner(Kind.PYTHON, each.name, each.version) for each in python.distributions
        }
        self._files: dict[str, Owner] = {
            **{path: wheels[name] for path, name in python.files.items()},
            **{path: packages[name] for path, name in debian.files.items()},
        }
        for path in debian.own:
            name = posixpath.basename(path).removesuffix(".md5sums")
            if name in packages:
                self._files[path] = packages[name]
        self.known = (*packages.values(), *wheels.values())

    def file(self, path: str) -> Owner | None:
        """Return the package or wheel of the file at `path`; None for a file built here."""
        found = self._files.get(path)
        if found is None:
            bytecode = _BYTECODE.fullmatch(path)
            found = self._files.get(f"{bytecode[1]}/{bytecode[2]}.py") if bytecode else None
        return found

    def link(self, path: str) -> Owner | None:
        """Return the owner of the file or directory that the link at `path` leads to."""
        try:
            real = self._image.tree.realpath(path)
        except ToolError:
            return None
        return self.file(real)

    def assign(self, members: Iterable[tuple[str, str]], *, built: Owner) -> Mapping[str, Owner]:
        """Return the owner of each of a layer's members, given as (path, kind).

        What no package has is `built`; a directory is its contents' owner if they have one.
        """
        found: dict[str, Owner] = {}
        users: dict[str, set[Owner]] = {}
        rest: list[str] = []
        for path, kind in members:
            if kind == "directory":
                rest.append(path)
                continue
            owner = self.link(path) if kind == "link" else self.file(path)
            found[path] = owner or built
            for parent in _parents(path):
                users.setdefault(parent, set()).add(found[path])
        for path in rest:
            owners = users.get(path, {built})
            found[path] = next(iter(owners)) if len(owners) == 1 else SHARED
        return found


def _parents(path: str) -> Iterable[str]:
    while path not in ("/", ""):
        path = posixpath.dirname(path)
        yield path
