"""Hold a size report against the image and the locks: every byte and file once, every chain true.

    python3 -m tools.size.check --report size.json --image DIR \
        --debian-lock LOCK --debian-intent YAML --python-lock LOCK --python-intent IN

Counts by means of its own: tarfile on the decompressed layers, and the locks' own edges. Prints
each disagreement and returns 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import posixpath
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.apt.intent import read_intent
from tools.apt.lockfile import read_lock
from tools.cli import ToolError, tool
from tools.image.layout import Image, read_layout
from tools.size.owners import Kind
from tools.size.reasons import requested
from tools.wheels.lockfile import parse_lock


def byte_errors(report: Mapping[str, Any], image: Image) -> Iterator[str]:
    """Yield a sentence for each layer whose bytes or members the report does not have."""
    members = [collections.Counter[str]() for _ in image.layers]
    sums = [[0, 0] for _ in image.layers]
    for layer, _, path, _, raw, stored in report["entries"]:
        members[layer][path] += 1
        sums[layer][0] += raw
        sums[layer][1] += stored
    rows = report["layers"]
    if [row["digest"] for row in rows] != [layer.digest for layer in image.layers]:
        yield "the report's layers are not the image's"
        return
    for index, (row, layer) in enumerate(zip(rows, image.layers, strict=True)):
        name, over = row["name"], row["overhead"]
        if sums[index][0] + over["raw"] != row["raw"]:
            yield f"{name}: entries have {sums[index][0]} + {over['raw']} raw, not {row['raw']}"
        if sums[index][1] + over["compressed"] != layer.path.stat().st_size:
            yield f"{name}: entries have {sums[index][1]} + {over['compressed']} compressed bytes"
        if layer.compression == "zstd":
            continue  # tarfile of Python 3.11 reads no zstd.
        # Not as a stream ("r|"), which ends after the first of several gzip members.
        with tarfile.open(layer.path, "r") as archive:
            found = collections.Counter(posixpath.normpath(f"/{info.name}") for info in archive)
        if found != members[index]:
            differing = sorted((found - members[index]) + (members[index] - found))
            yield f"{name}: members differ from the archive's: {differing[:3]}"
    totals = report["totals"]
    for key in ("raw", "compressed", "files"):
        if totals[key] != sum(row[key] for row in rows):
            yield f"the total of {key} is {totals[key]}, its layers have another sum"


def owner_errors(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each owner whose sums are not those of its entries."""
    sums: dict[int, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    for _, owner, _, kind, raw, stored in report["entries"]:
        values = (raw, stored, int(kind in ("file", "hard link")))
        sums[owner] = [a + b for a, b in zip(sums[owner], values, strict=True)]
    for index, owner in enumerate(report["owners"]):
        if sums[index] != [owner["raw"], owner["compressed"], owner["files"]]:
            yield f"{owner['name']}: its sums are not those of its files"
        if not owner["files"] and owner["kind"] in (Kind.DEBIAN, Kind.PYTHON):
            yield f"{owner['name']}: has no file"


def chain_errors(
    report: Mapping[str, Any],
    kind: Kind,
    *,
    asked: Mapping[str, str],
    edges: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    """Yield a sentence for each owner of a kind whose chain is none of requests and edges."""
    for owner in report["owners"]:
        if owner["kind"] != kind:
            continue
        chain, reason = owner["why"]["chain"], owner["why"]["reason"]
        if not chain or chain[-1] != owner["name"]:
            yield f"{owner['name']}: nothing says why it is there"
        elif asked.get(chain[0]) != reason or not reason:
            yield f"{owner['name']}: {chain[0]} was not asked for because of {reason!r}"
        for one, other in itertools.pairwise(chain):
            if other not in edges.get(one, ()):
                yield f"{owner['name']}: {one} does not need {other}"


def read_report(path: Path) -> dict[str, Any]:
    """Return a report. Raise ToolError for anything else."""
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = report["image"]["architecture"], report["entries"], report["layers"], report["owners"]
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{path}: not a size report: {error!r}") from error
    return report


@tool("size_check")
def main(argv: list[str] | None = None) -> int:
    """Check the report of the command line: 0 if everything in it is true."""
    parser = argparse.ArgumentParser(description="Hold a size report against image and locks.")
    add = parser.add_argument
    names = ("report", "image", "debian-lock", "debian-intent", "python-lock", "python-intent")
    for name in names:
        add(f"--{name}", type=Path, required=True)
    options = parser.parse_args(argv)
    report = read_report(options.report)
    lock, intent = read_lock(options.debian_lock), read_intent(options.debian_intent)
    wheels = parse_lock(
        options.python_lock.read_text(encoding="utf-8"), source=str(options.python_lock)
    )
    image = read_layout(options.image)
    architecture = report["image"]["architecture"]
    debian = {p.name: p.depends for p in lock.packages if p.arch == architecture}
    groups = (*intent.tools, *intent.image)  # What the image asks for overrides what tools do.
    asked = {name: why for group in groups for name, why in group.packages.items()}
    python: dict[str, list[str]] = collections.defaultdict(list)
    for wheel in wheels:
        for parent in wheel.via:
            python[parent].append(wheel.name)
    comments = requested(options.python_intent.read_text(encoding="utf-8"))
    errors = [
        *byte_errors(report, image),
        *owner_errors(report),
        *chain_errors(report, Kind.DEBIAN, asked=asked, edges=debian),
        *chain_errors(report, Kind.PYTHON, asked=comments, edges=python),
    ]
    for line in errors:
        print(line)
    entries, owners = len(report["entries"]), len(report["owners"])
    print(f"{entries} members, {owners} owners, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
