"""An OCI layout → a repository in a registry.

    bazel run //backend:push -- --repository HOST/NAME --tag T

Blobs that the registry has are skipped, the others are uploaded in parallel; then manifests are
stored by digest, children before their index; tags are moved last. So a tag never points to an
incomplete image, whenever the push is interrupted. Prints the digest reference of what was pushed.
No error shows a secret.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError, tool
from tools.image.names import parse_tag
from tools.registry import cli
from tools.registry.cli import CliContext
from tools.registry.errors import RegistryError
from tools.registry.progress import Progress, size_text
from tools.registry.push_plan import Blob, Manifest, Plan, make_plan
from tools.registry.reference import Repository, parse_repository
from tools.registry.registry import Registry
from tools.registry.transport import CancelledError, TransportError
from tools.registry.upload import upload_blob

_MISSING_BLOB = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}


@dataclass(frozen=True)
class Request:
    """What to push where. `chunk` is the most bytes of a request, None for a whole blob."""

    layout: Path
    repository: Repository
    tags: tuple[str, ...] = ()
    platform: str | None = None
    nondistributable: bool = False
    mount_from: tuple[str, ...] = ()
    jobs: int = 4
    chunk: int | None = None


def push(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str:
    """Carry out `plan` on a connected registry; return the digest of what was pushed.

    No tag is moved before everything else is stored. Raise ToolError, which names the tags that
    were moved, or CancelledError.
    """
    store(request, registry, progress, plan)
    moved: list[str] = []
    for tag in request.tags:
        move_tag(registry, tag, plan.root, moved=moved)
        moved.append(tag)
        progress.note(f"{request.repository}:{tag}")
    return plan.root.descriptor.digest


def store(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str | None:
    """Store blobs and manifests of `plan` in the repository, and move no tag.

    Return the subject of the last manifest, if the registry processed it.
    Raise RegistryError, TransportError or CancelledError.
    """
    _put_blobs(request, registry, progress, plan.blobs, force=False)
    try:
        return _put_manifests(registry, plan)
    except RegistryError as error:
        if not _MISSING_BLOB & set(error.codes):
            raise
        # A blob was deleted after the check, or the registry's cache has one that storage lacks.
        named = [blob for blob in plan.blobs if blob.descriptor.digest in error.details]
        progress.note("the registry lacks a blob that it reported before; uploading it again")
        _put_blobs(request, registry, progress, named or plan.blobs, force=True)
        return _put_manifests(registry, plan)


def move_tag(registry: Registry, tag: str, root: Manifest, *, moved: Sequence[str] = ()) -> None:
    """Point `tag` to a manifest that is in the registry.

    Raise ToolError that says whether the tag may have moved, and which were `moved` before it.
    """
    digest = root.descriptor.digest
    before = f"; these tags were already moved: {', '.join(moved)}" if moved else ""
    try:
        registry.put_manifest(
            root.data, media_type=root.descriptor.media_type, reference=tag, digest=digest
        )
    except RegistryError as error:
        raise ToolError(f"{error}{before}") from error
    except (CancelledError, TransportError) as error:
        # The request may have arrived although its response did not.
        if isinstance(error, TransportError) and _names(registry, tag, digest):
            return
        cause = str(error) or "interrupted"
        raise ToolError(f"{cause}; tag '{tag}' may or may not have been moved{before}") from error


def _names(registry: Registry, tag: str, digest: str) -> bool:
    try:
        return registry.manifest_digest(tag) == digest
    except (RegistryError, TransportError):
        return False


def describe(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str:
    """Print what `push` would do; ask the registry but change nothing."""
    missing = 0
    for blob in plan.blobs:
        digest = blob.descriptor.digest
        fate = "in the registry"
        if not registry.has_blob(digest):
            sources = (
                name for name in request.mount_from if registry.has_blob(digest, source=name)
            )
            source = next(sources, None)
            fate = f"would be mounted from {source}" if source else "would be uploaded"
            missing += 0 if source else blob.descriptor.size
        progress.note(f"{blob.name} {digest[:19]} ({size_text(blob.descriptor.size)}): {fate}")
    for manifest in plan.manifests:
        progress.note(f"manifest {manifest.descriptor.digest}: would be stored")
    for tag in request.tags:
        progress.note(f"{request.repository}:{tag}: would point to the last manifest")
    progress.note(f"{size_text(missing)} would be uploaded")
    return plan.root.descriptor.digest


def _put_manifests(registry: Registry, plan: Plan) -> str | None:
    subject = None
    for manifest in plan.manifests:
        digest = manifest.descriptor.digest
        subject = registry.put_manifest(
            manifest.data,
            media_type=manifest.descriptor.media_type,
            reference=digest,
            digest=digest,
        )
    return subject


def _put_blobs(
    request: Request,
    registry: Registry,
    progress: Progress,
    blobs: Sequence[Blob],
    *,
    force: bool,
) -> None:
    """Store every blob in the repository; with `force` also those that it reports to have."""
    with ThreadPoolExecutor(max_workers=request.jobs) as pool:
        checks = [pool.submit(_is_there, registry, progress, blob) for blob in blobs]
        absent = [blob for blob, check in zip(blobs, checks, strict=True) if not check.result()]
        todo = list(blobs) if force else absent
        progress.expect(blobs=len(todo), size=sum(blob.descriptor.size for blob in todo))
        uploads = [
            pool.submit(_upload, request, registry, progress, blob, force=force) for blob in todo
        ]
        done, waiting = wait(uploads, return_when=FIRST_EXCEPTION)
        for upload in waiting:
            upload.cancel()
        for upload in done:
            upload.result()


def _is_there(registry: Registry, progress: Progress, blob: Blob) -> bool:
    present = registry.has_blob(blob.descriptor.digest)
    if present:
        progress.note(f"{blob.name} {blob.descriptor.digest[:19]}: already in the registry")
    return present


def _upload(
    request: Request, registry: Registry, progress: Progress, blob: Blob, *, force: bool
) -> None:
    digest = blob.descriptor.digest
    for source in () if force else request.mount_from:
        if registry.mount_blob(digest, source=source):
            progress.expect_less(blob.descriptor.size)
            progress.note(f"{blob.name} {digest[:19]}: mounted from {source}")
            return
    progress.begin(digest, blob.name, blob.descriptor.size)
    upload_blob(
        registry,
        blob.descriptor,
        blob.path,
        chunk=request.chunk,
        sent=lambda amount: progress.advance(digest, amount),
    )
    progress.finish(digest)


def _parser() -> argparse.ArgumentParser:
    parser = cli.make_parser("push", (__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--layout", type=Path, help="layout to push; set by the target")
    add("-t", "--tag", action="append", default=[], help="tag to set, besides the target's")
    add("--platform", metavar="OS/ARCH", help="push only this image of an index")
    add("--allow-nondistributable-artifacts", action="store_true", help="push foreign layers too")
    add(
        "--mount-from",
        action="append",
        default=[],
        metavar="NAME",
        help="repository of the same registry to mount blobs from",
    )
    add("--jobs", type=cli.positive, default=4, help="parallel uploads (default 4)")
    return parser


def make_request(flags: argparse.Namespace, context: CliContext) -> Request:
    """Join the flags with the target's attributes; raise ToolError or OSError.

    Paths of the target are relative to its runfiles, those of flags to the user's directory.
    """
    root, target = cli.read_target(flags, context)
    if flags.layout:
        layout = context.here / flags.layout
    elif "layout" in target:
        layout = root / target["layout"]
    else:
        raise ToolError("no image to push; pass --layout")
    tags = list(flags.tag)
    if target.get("remote_tags"):
        tags += (root / target["remote_tags"]).read_text(encoding="utf-8").splitlines()
    repository = cli.choose_repository(flags, root, target)
    return Request(
        layout=layout,
        repository=repository,
        tags=tuple(dict.fromkeys(parse_tag(tag.strip()) for tag in tags if tag.strip())),
        platform=flags.platform,
        nondistributable=flags.allow_nondistributable_artifacts,
        mount_from=tuple(_source(name, repository) for name in flags.mount_from),
        jobs=flags.jobs,
        chunk=flags.chunk_size,
    )


def _source(name: str, repository: Repository) -> str:
    """Return a repository of the same registry, given with or without the host."""
    bare = name.removeprefix(f"{repository.host}/")
    return parse_repository(f"{repository.host}/{bare}").name


def _run(flags: argparse.Namespace, context: CliContext) -> str:
    request = make_request(flags, context)
    plan = make_plan(
        request.layout, platform=request.platform, nondistributable=request.nondistributable
    )
    registry = cli.connect(flags, request.repository, context, mount_from=request.mount_from)
    act: Callable[[Request, Registry, Progress, Plan], str] = describe if flags.dry_run else push
    return f"{request.repository}@{act(request, registry, context.progress, plan)}"


@tool("push")
def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 for a failure, 130 when interrupted."""
    return cli.run(_parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
