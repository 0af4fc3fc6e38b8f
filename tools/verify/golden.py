"""Hold the layers that this checkout makes to the digests that stand beside its locks.

    golden --golden bookworm.golden.json --policy policy.json --without app --image DIR ...
    golden --golden bookworm.golden.json ... --write

The file has, for each architecture, the digest of every layer of packages, so that "the same on any
machine" can be checked by reading it. Beside each digest stands a chain, two characters for each
member of the layer, by which the first path that differs is named without the old layer.

Exit code 0: the layers are those of the file, or it was written; 1: they are not; 2: an input
cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.cli import ToolError, tool
from tools.image.layer_difference import Member, read_members, tar_of
from tools.image.layout import Layer, read_layout
from tools.image.spec import sha256_digest
from tools.size.layer_sizes import layer_names

SCHEMA = "golden_layers/1"
_LINE = 100  # characters of the chain on one line of the file
_LINK = 2  # characters for one member: 12 bits, so one difference in 4096 is named a member late


def chain(members: Mapping[str, Member]) -> str:
    """Return two characters per member, all of them others from the first that differs on."""
    state = b""
    links = []
    for path, member in members.items():
        header = member.header
        entry = [
            path,
            header.kind,
            header.mode,
            [header.uid, header.gid, header.uname, header.gname],
            header.mtime,
            header.linkname,
            header.device,
            header.records,
            member.sha256.hex(),
        ]
        state = hashlib.sha256(state + json.dumps(entry).encode()).digest()
        links.append(base64.urlsafe_b64encode(state)[:_LINK].decode())
    return "".join(links)


def described(layer: Layer) -> dict[str, Any]:
    """Return what the file says of a layer."""
    text = chain(read_members(tar_of(layer.path)).members)
    return {
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "members": len(text) // _LINK,
        "chain": textwrap.wrap(text, _LINE, break_on_hyphens=False),
    }


def first_difference(golden: Mapping[str, Any], layer: Layer) -> str:
    """Say in words where a layer begins to differ from what the file says of it."""
    if golden["diff_id"] == layer.diff_id:
        return "the content is the same, its compression differs"
    members = read_members(tar_of(layer.path)).members
    old, new = "".join(golden["chain"]), chain(members)
    for at, path in enumerate(members):
        place = slice(at * _LINK, (at + 1) * _LINK)
        if old[place] != new[place]:
            return f"the first path that differs is {path}, or one is missing before it"
    return f"{golden['members'] - len(members)} paths are missing after {list(members)[-1]}"


def built_layers(images: Sequence[Path], without: Sequence[str]) -> dict[str, dict[str, Layer]]:
    """Return architecture → name → layer of OCI layouts, each layer once.

    Of `without`, `app` leaves out `analysis app`, too, which is another part of it.

    Raise ToolError if one name stands for two layers of an architecture.
    """
    found: dict[str, dict[str, Layer]] = {}
    for path in images:
        image = read_layout(path)
        layers = found.setdefault(image.config["architecture"], {})
        for name, layer in zip(layer_names(image), image.layers, strict=True):
            if name.endswith(tuple(f" {left_out}" for left_out in without)) or name in without:
                continue
            if layers.setdefault(name, layer).digest != layer.digest:
                raise ToolError(f"{path}: layer '{name}' is another one than in the images before")
    return {architecture: dict(sorted(layers.items())) for architecture, layers in found.items()}


def differences(
    golden: Mapping[str, Any], policy: str, built: Mapping[str, Mapping[str, Layer]]
) -> Iterator[str]:
    """Yield a sentence for each layer that is not what the file says, and for the policy."""
    if golden["layer_policy"] != policy:
        yield f"layer policy: {golden['layer_policy']} is golden, {policy} was made"
    recorded = golden["architectures"]
    for architecture in sorted(recorded.keys() | built.keys()):
        olds, news = recorded.get(architecture, {}), built.get(architecture, {})
        for name in sorted(olds.keys() | news.keys()):
            old, new = olds.get(name), news.get(name)
            place = f"{architecture}, layer {name}"
            if new is None:
                yield f"{place}: is golden, but no image has it"
            elif old is None:
                yield f"{place}: is in an image, but not golden"
            elif old["digest"] != new.digest:
                yield (
                    f"{place}: {old['digest']} is golden, {new.digest} was made; "
                    f"{first_difference(old, new)}"
                )


def read_golden(path: Path) -> dict[str, Any]:
    """Return the content of the file. Raise ToolError if it is not one of `SCHEMA`."""
    try:
        document = json.loads(path.read_bytes())
        known = document["schema"] == SCHEMA
    except (ValueError, TypeError, KeyError) as error:
        raise ToolError(f"{path}: no JSON document of schema {SCHEMA}: {error}") from error
    if not known:
        raise ToolError(f"{path}: schema {document['schema']!r}, {SCHEMA!r} is needed")
    return dict(document)


@tool("golden", failure=2)
def main(argv: Sequence[str] | None = None) -> int:
    """Compare, or write with --write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True, help="the file")
    parser.add_argument("--policy", type=Path, required=True, help="the layers' layer_policy")
    parser.add_argument(
        "--without", action="append", default=[], help="a layer, or parts of one, to leave out"
    )
    parser.add_argument(
        "--image", type=Path, action="append", default=[], help="OCI layout; may be repeated"
    )
    parser.add_argument(
        "--command", default="golden --write", help="what to run for a wanted change"
    )
    parser.add_argument("--write", action="store_true", help="write the file")
    args = parser.parse_args(argv)
    policy = sha256_digest(args.policy.read_bytes())
    built = built_layers(args.image, args.without)
    count = sum(map(len, built.values()))
    if args.write:
        document = {
            "schema": SCHEMA,
            "layer_policy": policy,
            "architectures": {
                architecture: {name: described(layer) for name, layer in layers.items()}
                for architecture, layers in sorted(built.items())
            },
        }
        out = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")) / args.golden
        out.write_text(json.dumps(document, indent=1) + "\n")
        print(f"{args.golden}: {count} layers written", file=sys.stderr)
        return 0
    found = list(differences(read_golden(args.golden), policy, built))
    for line in found:
        print(f"golden: {line}", file=sys.stderr)
    if found:
        print(f"golden: if that is wanted, run {args.command}", file=sys.stderr)
        return 1
    print(f"{count} layers are those of {args.golden}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
