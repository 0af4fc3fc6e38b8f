r"""Report where an image's bytes are and why: as text, as JSON and as a page with a treemap.

    python3 -m tools.size.report --image bazel-bin/backend/image --layer base … \
        --debian-lock … --debian-intent … --python-lock … --python-intent … \
        --text size.txt --json size.json --page size.html

Same image and locks, same bytes. Every member of every layer is counted once, so that the sums are
the layers' sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.apt.intent import read_intent
from tools.apt.lockfile import read_lock
from tools.cli import ToolError, tool
from tools.image.image_files import (
    ImageFiles,
    is_linker_file,
    read_image,
)
from tools.proof import debian_inventory, python_inventory
from tools.proof.allowlist import Allowlist, read_allowlist
from tools.size.layer_sizes import layer_names, measure
from tools.size.owners import Kind, Owner, Owners
from tools.size.page import page
from tools.size.reasons import Needs, Why, debian_reasons, elf_needs, python_reasons
from tools.size.text import text
from tools.wheels.lockfile import parse_lock

SCHEMA = "image_size_report/1"
_UNEXPLAINED = Why((), "")
_BASELINE = ("raw", "compressed", "files", "packages")


@dataclass
class Sum:
    """Bytes of archives and of blobs, and the number of files."""

    raw: int = 0
    stored: int = 0
    files: int = 0

    def add(self, raw: int, stored: int, files: int = 0) -> None:
        """Count more."""
        self.raw += raw
        self.stored += stored
        self.files += files

    def json(self) -> dict[str, int]:
        """Return the sum as the report has it."""
        return {"raw": self.raw, "compressed": self.stored, "files": self.files}


@dataclass
class Share:
    """One owner's bytes, in all and by the index of the layer."""

    total: Sum = field(default_factory=Sum)
    layers: dict[int, Sum] = field(default_factory=dict)


@dataclass(frozen=True)
class Reasons:
    """Why owners are there, and why files that are no package's are."""

    why: Mapping[Owner, Why]
    needs: Mapping[Owner, Needs]
    built: Allowlist


def report(
    image: ImageFiles, *, names: Sequence[str], owners: Owners, reasons: Reasons
) -> dict[str, Any]:
    """Return the report as JSON has it. Raise ToolError when `names` does not fit the layers."""
    layers = image.image.layers
    names = names or layer_names(image.image)
    if len(names) != len(layers):
        raise ToolError(f"the image has {len(layers)} layers, {len(names)} names are given")
    shares: dict[Owner, Share] = {owner: Share() for owner in owners.known}
    total, layer_rows, entries = Sum(), [], []
    built_here: dict[str, str] = {}
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        sizes = measure(layer)
        built = Owner(Kind.BUILT, name)
        assigned = owners.assign(((m.path, m.kind) for m in sizes.members), built=built)
        files = 0
        for member in sizes.members:
            owner = assigned[member.path]
            is_file = int(member.kind in ("file", "hard link"))
            files += is_file
            share = shares.setdefault(owner, Share())
            share.total.add(member.raw, member.stored, is_file)
            share.layers.setdefault(index, Sum()).add(member.raw, member.stored, is_file)
            if owner == built and is_file:
                built_here[member.path] = reasons.built.reason("files", member.path) or ""
            entries.append((index, owner, member.path, member.kind, member.raw, member.stored))
        raw, stored = sizes.overhead
        layer_rows.append(
            {
                "name": name,
                "digest": layer.digest,
                "media_type": layer.media_type,
                "raw": sizes.raw,
                "compressed": sizes.stored,
                "files": files,
                "overhead": {"raw": raw, "compressed": stored},
            }
        )
        total.add(sizes.raw, sizes.stored, files)
    order = sorted(shares, key=lambda owner: (-shares[owner].total.stored, owner))
    number = {owner: i for i, owner in enumerate(order)}
    return {
        "schema": SCHEMA,
        "image": {"digest": image.image.digest, "architecture": image.architecture},
        "totals": {
            **total.json(),
            "layers": len(layers),
            "packages": sum(owner.kind is Kind.DEBIAN for owner in order),
            "wheels": sum(owner.kind is Kind.PYTHON for owner in order),
        },
        "layers": layer_rows,
        "owners": [_owner_row(owner, shares[owner], reasons) for owner in order],
        "built": built_here,
        "entries": [
            [layer, number[owner], path, kind, raw, stored]
            for layer, owner, path, kind, raw, stored in entries
        ],
    }


def _owner_row(owner: Owner, share: Share, reasons: Reasons) -> dict[str, Any]:
    why = reasons.why.get(owner, _UNEXPLAINED)
    needs = reasons.needs.get(owner)
    row: dict[str, Any] = {
        "kind": owner.kind.value,
        "name": owner.name,
        "version": owner.version,
        **share.total.json(),
        "layers": {str(index): each.json() for index, each in sorted(share.layers.items())},
        "why": {"chain": list(why.chain), "reason": why.reason},
    }
    if needs is not None:
        row["elf"] = {
            "path": list(needs.path),
            "needs": [vars(need) for need in needs.direct],
            "count": needs.count,
        }
    return row


def build(options: argparse.Namespace) -> dict[str, Any]:
    """Read everything and return the report; raise what `main` reports."""
    allowlist = read_allowlist(options.allowlist, kinds=("files",))
    lock, intent = read_lock(options.debian_lock), read_intent(options.debian_intent)
    wheels = parse_lock(
        options.python_lock.read_text(encoding="utf-8"), source=str(options.python_lock)
    )
    image = read_image(options.image, keep=_is_read)
    debian = debian_inventory.read(image)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as scratch:
        python = python_inventory.read(image, Path(scratch))
    owners = Owners(image, debian, python)
    locked = {
        package.name: package
        for package in lock.packages
        if package.arch == image.architecture and package.name in debian.packages
    }
    requirements = options.python_intent.read_text(encoding="utf-8")
    why = {
        Kind.DEBIAN: debian_reasons(intent, locked),
        Kind.PYTHON: python_reasons(requirements, wheels),
    }
    reasons = Reasons(
        why={
            owner: why[owner.kind][owner.name]
            for owner in owners.known
            if owner.name in why[owner.kind]
        },
        needs=elf_needs(image, owners),
        built=allowlist,
    )
    result = report(image, names=options.layer, owners=owners, reasons=reasons)
    if options.baseline is not None:
        result["baseline"] = read_baseline(options.baseline)
    return result


def read_baseline(path: Path) -> dict[str, Any]:
    """Read what the image is compared with. Raise ToolError for anything malformed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"name": str(content["name"]), **{k: int(content[k]) for k in _BASELINE}}
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{path}: wanted a name and {', '.join(_BASELINE)}: {error!r}") from error


def _is_read(path: str) -> bool:
    return (
        is_linker_file(path)
        or debian_inventory.is_metadata(path)
        or python_inventory.is_metadata(path)
    )


@tool("size_report")
def main(argv: list[str] | None = None) -> None:
    """Write the files that are asked for; 1 when the image or a list cannot be read."""
    parser = argparse.ArgumentParser(
        description="Report where an image's bytes are and why, as text, JSON and a page.",
        fromfile_prefix_chars="@",
    )
    add = parser.add_argument
    add("--image", type=Path, required=True, help="OCI layout directory")
    add("--name", default="image", help="what to call it")
    add("--layer", action="append", default=[], help="name of each layer, the lowest first")
    add("--debian-lock", type=Path, required=True, help="lock of Debian packages")
    add("--debian-intent", type=Path, required=True, help="YAML it was made from, with reasons")
    add("--python-lock", type=Path, required=True, help="lock of wheels for the architecture")
    add("--python-intent", type=Path, required=True, help="requirements.in it was made from")
    add("--allowlist", type=Path, action="append", default=[], help="reasons of files built here")
    add("--baseline", type=Path, help="JSON: what to compare the sizes with")
    add("--text", type=Path, help="text to write; without any output it is printed")
    add("--json", type=Path, help="JSON to write")
    add("--page", type=Path, help="HTML to write")
    options = parser.parse_args(argv)
    result = {"name": options.name, **build(options)}
    if options.text is not None:
        options.text.write_text(text(result), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(encode(result), encoding="utf-8")
    if options.page is not None:
        options.page.write_text(page(result), encoding="utf-8")
    if options.text is None and options.json is None and options.page is None:
        print(text(result), end="")


def encode(result: Mapping[str, Any]) -> str:
    """Return the report as JSON: indented, but each entry on a line of its own."""
    entries = ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in result["entries"])
    head = json.dumps({**result, "entries": "@"}, indent=2, ensure_ascii=False)
    return head.replace('"entries": "@"', f'"entries": [\n    {entries}\n  ]') + "\n"


if __name__ == "__main__":
    sys.exit(main())
