"""A file -> an artifact in a registry that refers to an image there.

    bazel run //backend:attach_sbom -- --repository HOST/NAME

The image has to be there; it, its digest and its tags stay as they are. Prints the digest
reference of the artifact. Attaching the same file again changes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.layout import open_layout
from tools.image.spec import Descriptor
from tools.registry import cli as session
from tools.registry import push
from tools.registry.cli import Caller, PushError
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


def attach(request: Request, registry: Registry, caller: Caller) -> str:
    """Store the artifact and see that it is listed; gives the digest of its manifest.

    Raises PushError, RegistryError, TransportError and CancelledError.
    """
    subject = request.subject.digest
    with tempfile.TemporaryDirectory() as scratch:
        plan = artifact_plan(request.artifact, request.subject, Path(scratch))
        upload = push.Request(
            layout=Path(scratch), repository=request.repository, chunk=request.chunk
        )
        noted = push.store(upload, registry, caller.progress, plan)
    digest = plan.root.descriptor.digest
    if noted == subject:
        caller.say(f"{request.repository}@{subject}: listed by the registry")
        return digest
    tag = fallback_tag(subject)
    try:
        record(registry, subject, list_entry(plan.root))
    except (ReferrersError, RegistryError, TransportError) as error:
        raise PushError(
            f"{error}; the artifact is stored as {request.repository}@{digest}, "
            f"but tag '{tag}', which lists what refers to the image, does not name it"
        ) from error
    caller.say(f"{request.repository}:{tag}: lists it, since the registry keeps no list")
    return digest


def describe(request: Request, registry: Registry, caller: Caller) -> str:
    """Say what `attach` would do, asking the registry and changing nothing there."""
    with tempfile.TemporaryDirectory() as scratch:
        plan = artifact_plan(request.artifact, request.subject, Path(scratch))
    for blob in plan.blobs:
        there = registry.has_blob(blob.descriptor.digest)
        fate = "in the registry" if there else "would be uploaded"
        caller.say(f"{blob.name} {blob.descriptor.digest[:19]}: {fate}")
    digest = plan.root.descriptor.digest
    caller.say(f"manifest {digest}: would be stored")
    subject = request.subject.digest
    if registry.get_referrers(subject) is None:
        caller.say(f"{request.repository}:{fallback_tag(subject)}: would list it")
    else:
        caller.say(f"{request.repository}@{subject}: the registry would list it")
    return digest


def _show(entries: list[dict[str, Any]], caller: Caller) -> None:
    for entry in entries:
        caller.say(f"{entry['digest']} {entry.get('artifactType', '')}".rstrip())
    caller.say(f"{len(entries)} artifact(s) refer to the image")


def _parser() -> argparse.ArgumentParser:
    parser = session.make_parser("attach", (__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--layout", type=Path, help="layout of the image; the target sets it")
    add("--platform", metavar="OS/ARCH", help="attach to this image of an index, not to the index")
    add("--artifact", type=Path, help="file to attach; the target sets it")
    add("--artifact-type", help="what it is, such as application/spdx+json; the target sets it")
    add("--media-type", help="media type of the file (default: the artifact type)")
    add(
        "--annotation",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="annotation of the artifact's manifest, beside the target's own",
    )
    add("--list", action="store_true", help="list what refers to the image; attach nothing")
    return parser


def make_request(flags: argparse.Namespace, caller: Caller) -> Request:
    """Join the flags with what the target says.

    Raises PushError, InvalidReferenceError, LayoutError, OSError.
    """
    root, target = session.read_target(flags, caller)
    paths = {}
    for name in ("layout", "artifact"):
        given = getattr(flags, name)
        if not given and name not in target:
            raise PushError(f"there is no {name}. Please pass --{name} flag.")
        paths[name] = caller.here / given if given else root / target[name]
    kind = flags.artifact_type or target.get("artifact_type")
    if not kind:
        raise PushError("the artifact's type is not set. Please pass --artifact-type flag.")
    annotations = dict(target.get("annotations", {}))
    for text in flags.annotation:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise PushError(f"annotation '{text}' must be KEY=VALUE")
        annotations[key] = value
    return Request(
        artifact=Artifact(
            path=paths["artifact"],
            kind=kind,
            media_type=flags.media_type or target.get("media_type") or kind,
            annotations=tuple(sorted(annotations.items())),
        ),
        subject=choose_root(open_layout(paths["layout"]), flags.platform),
        repository=session.choose_repository(flags, root, target),
        chunk=flags.chunk_size,
    )


def _run(flags: argparse.Namespace, caller: Caller) -> str:
    request = make_request(flags, caller)
    registry = session.connect(flags, request.repository, caller)
    subject = request.subject.digest
    if registry.manifest_digest(subject) is None:
        raise PushError(
            f"{request.repository}@{subject}: the image is not there; push it first, "
            "an artifact refers to it by its digest"
        )
    if flags.list:
        try:
            _show(list_referrers(registry, subject), caller)
        except ReferrersError as error:
            raise PushError(str(error)) from error
        return f"{request.repository}@{subject}"
    act = describe if flags.dry_run else attach
    return f"{request.repository}@{act(request, registry, caller)}"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code: 0, 1 for a failure, 130 when interrupted."""
    return session.run(_parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
