"""The packages and Bazel's actions behind an image → a SLSA provenance statement, unsigned.

    provenance --image LAYOUT --build build.json --components components.json --out FILE

Format: https://slsa.dev/spec/v1.1/provenance. The files are what Bazel's own action graph says the
image was made from; the components say which package each is, and both must agree. No time, no
machine and no path is in it, so the same image has the same provenance wherever it is built.

build.json, as the rule writes it: target, builder, source; actions, a mnemonic for each; files and
locks, path → label.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.attest.statement import PROVENANCE, make_statement
from tools.cli import ToolError, tool
from tools.image import spec
from tools.image.layout import Layout, open_layout, read_children, read_image
from tools.image.platform import platform_text
from tools.image.references import platform_of
from tools.sbom.component import Component, read_components

# No host is the project's own, so its names are where nobody can own one (RFC 2606). What they
# mean is in README.md.
BUILD_TYPE = "https://pinned-image.example/bazel-image/v1"
BUILDER = "https://pinned-image.example/anyone"
_SOURCE = re.compile(r"(?P<uri>[a-z][a-z0-9+.-]*:.+)@(?P<commit>[0-9a-f]{40}|[0-9a-f]{64})")
_PACKAGES = (".deb", ".whl")


@dataclass(frozen=True)
class Material:
    """A file that was read: its label, the same with and without bzlmod, and its SHA-256."""

    label: str
    sha256: str


@dataclass(frozen=True)
class Build:
    """How an image was made: everything that the statement says beside the image itself."""

    target: str
    files: Sequence[Material]
    locks: Sequence[Material]
    components: Sequence[Component]
    actions: Mapping[str, int]
    builder: str = ""
    source: str = ""


def provenance(layout: Layout, build: Build) -> bytes:
    """Return the statement about the image or index of a layout; raise ToolError."""
    root = layout.root
    images = read_children(layout, root) if root.media_type in spec.INDEX_TYPES else ()
    platforms = [platform_of(layout, each) for each in images] or [_platform(layout)]
    details: dict[str, Any] = {"builder": {"id": build.builder or BUILDER}}
    if images:
        details["byproducts"] = [
            {"name": platform, "digest": _digest(each.digest)}
            for platform, each in zip(platforms, images, strict=True)
        ]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"platforms": platforms, "target": build.target},
            "internalParameters": {"actions": dict(build.actions)},
            "resolvedDependencies": [
                *_source(build.source),
                *_packages(build),
                *_others(build),
            ],
        },
        "runDetails": details,
    }
    return make_statement({root.digest: build.target}, PROVENANCE, predicate)


def _source(source: str) -> list[dict[str, Any]]:
    if not source:
        return []
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise ToolError(
            f"source '{source}' must be a URI and a full commit hash, "
            "such as git+https://example.org/app@1234…"
        )
    return [{"uri": source, "digest": {"gitCommit": match["commit"]}}]


def _packages(build: Build) -> list[dict[str, Any]]:
    """Return the packages that actions read; raise ToolError unless they are the components."""
    read = {each.sha256: each.label for each in build.files if each.label.endswith(_PACKAGES)}
    described = {
        each.sha256: each for each in build.components if each.parent is None and each.sha256
    }
    for sha256, label in read.items():
        if sha256 not in described:
            raise ToolError(f"{build.target}: {label} is read by an action, but is no component")
    for sha256, component in described.items():
        if sha256 not in read:
            raise ToolError(
                f"{build.target}: {component.ref} is a component, but no action reads it"
            )
    return [
        {"uri": each.purl, "name": each.name, "digest": {"sha256": each.sha256}}
        for each in sorted(described.values(), key=lambda each: (each.ref, each.purl or ""))
    ]


def _others(build: Build) -> list[dict[str, Any]]:
    """Return sources, and the locks of the programs that build."""
    others = {each for each in build.files if not each.label.endswith(_PACKAGES)}
    ordered = sorted(others | set(build.locks), key=lambda each: each.label)
    return [{"name": each.label, "digest": {"sha256": each.sha256}} for each in ordered]


def _digest(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _platform(layout: Layout) -> str:
    return platform_text(read_image(layout, layout.root).config)


def read_build(description: Path, components: Sequence[Path]) -> Build:
    """Return the build that the rule describes; raise ToolError or OSError."""
    found = json.loads(description.read_bytes())
    described = {
        (each.ref, each.sha256): each for path in components for each in read_components(path)
    }
    return Build(
        target=found["target"],
        files=[_material(*each) for each in found["files"].items()],
        locks=[_material(*each) for each in found["locks"].items()],
        components=tuple(described.values()),
        actions=Counter(found["actions"]),
        builder=found["builder"],
        source=found["source"],
    )


def _material(path: str, label: str) -> Material:
    with Path(path).open("rb") as stream:
        return Material(label, hashlib.file_digest(stream, "sha256").hexdigest())


@tool("provenance")
def main(argv: list[str] | None = None) -> None:
    """Write the statement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--image", type=Path, required=True, help="OCI layout of an image or an index")
    add("--build", type=Path, required=True, help="how it was made, as the rule writes it")
    add("--components", type=Path, action="append", default=[], help="of //tools/sbom")
    add("--out", type=Path, required=True, help="statement to write")
    flags = parser.parse_args(argv)
    build = read_build(flags.build, flags.components)
    flags.out.write_bytes(provenance(open_layout(flags.image), build))


if __name__ == "__main__":
    sys.exit(main())
