"""A file → an artifact in a registry that refers to an image there.

    bazel run //backend:attach_sbom -- --repository HOST/NAME

The image must have been pushed; it, its digest and its tags do not change. Prints the digest
reference of the artifact. Attaching the same file again changes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, tool
from tools.image.layout import open_layout
from tools.image.spec import Descriptor
from tools.registry import cli, push
from tools.registry.cli import CliContext
from tools.registry.errors import RegistryError
from tools.registry.push_plan import choose_root
from tools.registry.reference import Repository
from tools.registry.referrers import (
    Artifact,
    ReferrersError,
    artifact_plan,
    fallback_tag,
    list_entry,
    list_referrers,
    record,
)
from tools.registry.registry import Registry
from tools.registry.transport import TransportError


@dataclass(frozen=True)
class Request:
    """What to attach to what."""

    artifact: Artifact
    subject: Descriptor
    repository: Repository
    chunk: int | None = None


def attach(request: Request, registry: Registry, context: CliContext) -> str:
    """Store the artifact and make sure that it is listed; return the digest of its manifest.

    Raise ToolError or CancelledError.
    """
    subject = request.subject.digest
    with tempfile.TemporaryDirectory() as scratch:
        plan = artifact_plan(request.artifact, request.subject, Path(scratch))
        upload = push.Request(
            layout=Path(scratch), repository=request.repository, chunk=request.chunk
        )
        noted = push.store(upload, registry, context.progress, plan)
    digest = plan.root.descriptor.digest
    if noted == subject:
        context.say(f"{request.repository}@{subject}: listed by the registry")
        return digest
    tag = fallback_tag(subject)
    try:
        record(registry, subject, list_entry(plan.root))
    except (ReferrersError, RegistryError, TransportError) as error:
        raise ToolError(
            f"{error}; the artifact is stored as {request.repository}@{digest}, "
            f"but tag '{tag}', the list of the image's referrers, does not contain it"
        ) from error
    context.say(
        f"{request.repository}:{tag}: lists the artifact, as the registry has no referrers API"
    )
    return digest


def describe(request: Request, registry: Registry, context: CliContext) -> str:
    """Print what `attach` would do; ask the registry but change nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        plan = artifact_plan(request.artifact, request.subject, Path(scratch))
    for blob in plan.blobs:
        there = registry.has_blob(blob.descriptor.digest)
        fate = "in the registry" if there else "would be uploaded"
        context.say(f"{blob.name} {blob.descriptor.digest[:19]}: {fate}")
    digest = plan.root.descriptor.digest
    context.say(f"manifest {digest}: would be stored")
    subject = request.subject.digest
    if registry.get_referrers(subject) is None:
        context.say(f"{request.repository}:{fallback_tag(subject)}: would list it")
    else:
        context.say(f"{request.repository}@{subject}: the registry would list it")
    return digest


def _show(entries: list[dict[str, Any]], context: CliContext) -> None:
    for entry in entries:
        context.say(f"{entry['digest']} {entry.get('artifactType', '')}".rstrip())
    context.say(f"{len(entries)} referrer(s) of the image")


def _parser() -> argparse.ArgumentParser:
    parser = cli.make_parser("attach", (__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--layout", type=Path, help="layout of the image; set by the target")
    add("--platform", metavar="OS/ARCH", help="attach to this image of an index, not to the index")
    add("--artifact", type=Path, help="file to attach; set by the target")
    add("--artifact-type", help="such as application/spdx+json; set by the target")
    add("--media-type", help="media type of the file (default: the artifact type)")
    add(
        "--annotation",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="annotation of the artifact's manifest, besides the target's",
    )
    add("--list", action="store_true", help="list the image's referrers; attach nothing")
    return parser


def make_request(flags: argparse.Namespace, context: CliContext) -> Request:
    """Join the flags with the target's attributes; raise ToolError or OSError."""
    root, target = cli.read_target(flags, context)
    paths = {}
    for name in ("layout", "artifact"):
        given = getattr(flags, name)
        if not given and name not in target:
            raise ToolError(f"no {name} is set; pass --{name}")
        paths[name] = context.here / given if given else root / target[name]
    kind = flags.artifact_type or target.get("artifact_type")
    if not kind:
        raise ToolError("no artifact type is set; pass --artifact-type")
    annotations = dict(target.get("annotations", {}))
    for text in flags.annotation:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ToolError(f"annotation '{text}' must be KEY=VALUE")
        annotations[key] = value
    return Request(
        artifact=Artifact(
            path=paths["artifact"],
            kind=kind,
            media_type=flags.media_type or target.get("media_type") or kind,
            annotations=tuple(sorted(annotations.items())),
        ),
        subject=choose_root(open_layout(paths["layout"]), flags.platform),
        repository=cli.choose_repository(flags, root, target),
        chunk=flags.chunk_size,
    )


def _run(flags: argparse.Namespace, context: CliContext) -> str:
    request = make_request(flags, context)
    registry = cli.connect(flags, request.repository, context)
    subject = request.subject.digest
    if registry.manifest_digest(subject) is None:
        raise ToolError(
            f"{request.repository}@{subject}: the image is not in the registry; "
            "push it first, since an artifact refers to its digest"
        )
    if flags.list:
        _show(list_referrers(registry, subject), context)
        return f"{request.repository}@{subject}"
    act = describe if flags.dry_run else attach
    return f"{request.repository}@{act(request, registry, context)}"


@tool("attach")
def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 for a failure, 130 when interrupted."""
    return cli.run(_parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
