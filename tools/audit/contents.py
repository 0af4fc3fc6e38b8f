"""What `bazel run //backend:audit` is given → the components of the image, by architecture.

Debian packages and wheels are those of the locks; libraries in wheels are those of the SBOM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packageurl import PackageURL

from tools.apt.lockfile import Lock
from tools.apt.versions import source_version
from tools.audit.findings import Component
from tools.sbom.component import Component as SbomComponent
from tools.sbom.component import read_components
from tools.wheels.lockfile import parse_lock

# Package URL's type → OSV's ecosystem. Of others, records are found by package URL alone.
_ECOSYSTEMS = {"cargo": "crates.io", "pypi": "PyPI"}
_CPE_PRODUCT = 4  # cpe:2.3:a:vendor:product:version:…


@dataclass(frozen=True)
class Input:
    """A file as Bazel gives it, and its path in the workspace, by which people know it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Inputs:
    """What an audit rests on; wheels' locks and components are by architecture."""

    name: str
    workspace: str
    debian_lock: Input
    available: Input
    python_locks: Mapping[str, Input]
    components: Mapping[str, Sequence[Path]]
    support: Sequence[Path]
    end_of_life: Input
    vex: Sequence[Input]
    groups: Sequence[str]


def read_inputs(target: Mapping[str, Any], runfiles: Path) -> Inputs:
    """Return the files of a target, whose paths are below `runfiles`."""

    def file(entry: Mapping[str, str]) -> Input:
        return Input(runfiles / entry["file"], entry["name"])

    return Inputs(
        name=target["name"],
        workspace=target["workspace"],
        debian_lock=file(target["debian_lock"]),
        available=file(target["available"]),
        python_locks={arch: file(entry) for arch, entry in target["python_locks"].items()},
        components={
            arch: [runfiles / path for path in paths]
            for arch, paths in target["components"].items()
        },
        support=[runfiles / path for path in target["support"]],
        end_of_life=file(target["end_of_life"]),
        vex=[file(entry) for entry in target["vex"]],
        groups=target["groups"],
    )


@dataclass(frozen=True)
class Contents:
    """The image's components by architecture."""

    debian: Mapping[str, tuple[Component, ...]]
    wheels: Mapping[str, tuple[Component, ...]]
    libraries: Mapping[str, tuple[Component, ...]]

    def all(self, arch: str) -> tuple[Component, ...]:
        """Return every component of an architecture."""
        return (*self.debian[arch], *self.wheels[arch], *self.libraries[arch])

    def everything(self) -> list[Component]:
        """Return the components of all architectures."""
        return [each for arch in self.debian for each in self.all(arch)]


def read_contents(inputs: Inputs, lock: Lock) -> Contents:
    """Return what the image has. Raise ToolError."""
    debian, wheels, libraries = {}, {}, {}
    for arch, python_lock in inputs.python_locks.items():
        listed = [each for path in inputs.components[arch] for each in read_components(path)]
        sources = dict(each.source.split() for each in listed if each.source)
        packages = lock.image(arch, inputs.groups or None).values()
        debian[arch] = tuple(
            Component(
                name=package.name,
                version=package.version,
                purl=PackageURL("deb", "debian", package.name, package.version).to_string(),
                file=inputs.debian_lock.name,
                source=package.source,
                source_version=sources.get(package.source, source_version(package.version)),
                ecosystem="Debian",
            )
            for package in packages
        )
        content = python_lock.path.read_text(encoding="utf-8")
        wheels[arch] = tuple(
            Component(
                name=wheel.name,
                version=wheel.version,
                purl=PackageURL("pypi", None, wheel.name, wheel.version).to_string(),
                file=python_lock.name,
                ecosystem="PyPI",
            )
            for wheel in parse_lock(content, source=python_lock.name)
        )
        libraries[arch] = tuple(_libraries(listed, file=python_lock.name))
    return Contents(debian, wheels, libraries)


def _libraries(listed: Iterable[SbomComponent], *, file: str) -> Iterator[Component]:
    """Yield what is in wheels, as far as its version is known."""
    for each in listed:
        if each.parent and each.version and each.purl:
            kind = PackageURL.from_string(each.purl).type
            yield Component(
                name=each.name,
                version=each.version,
                purl=each.purl,
                file=file,
                parent=each.parent.removeprefix("pypi-"),
                product=each.cpe.split(":")[_CPE_PRODUCT] if each.cpe else "",
                ecosystem=_ECOSYSTEMS.get(kind, ""),
            )
