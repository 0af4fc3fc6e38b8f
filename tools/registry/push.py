"""An OCI layout -> a repository in a registry.

    bazel run //backend:push -- --repository HOST/NAME --tag T

Blobs that the registry has are skipped, the others are uploaded in parallel; then the manifests are
stored by digest, children before the index that lists them; tags are moved last of all. So a tag
never names an image that is not completely there, whenever the push is interrupted.
Prints the digest reference of what was pushed. No secret is printed, by any failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tools.registry import cli as session
from tools.registry.cli import Caller, PushError
from tools.registry.errors import RegistryError
from tools.registry.progress import Progress, size_text
from tools.registry.push_plan import Blob, Manifest, Plan, make_plan
from tools.registry.reference import Repository, parse_repository, parse_tag
from tools.registry.registry import Registry
from tools.registry.transport import CancelledError, TransportError
from tools.registry.upload import upload_blob

_MISSING_BLOB = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}


@dataclass(frozen=True)
class Request:
    """What to push where. `chunk` is bytes of one request, None for a whole blob in one."""

    layout: Path
    repository: Repository
    tags: tuple[str, ...] = ()
    platform: str | None = None
    nondistributable: bool = False
    mount_from: tuple[str, ...] = ()
    jobs: int = 4
    chunk: int | None = None


def push(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str:
    """Carry out `plan` on a connected registry and give the digest of what was pushed.

    Raises PushError, RegistryError, TransportError and CancelledError. No tag is moved before
    everything else is there; an error says which tags were.
    """
    store(request, registry, progress, plan)
    moved: list[str] = []
    for tag in request.tags:
        move_tag(registry, tag, plan.root, moved=moved)
        moved.append(tag)
        progress.note(f"{request.repository}:{tag}")
    return plan.root.descriptor.digest


def store(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str | None:
    """Bring blobs and manifests of `plan` into the repository, and move no tag.

    Gives the subject of the last manifest if the registry took note of it.
    Raises RegistryError, TransportError and CancelledError.
    """
    _put_blobs(request, registry, progress, plan.blobs, force=False)
    try:
        return _put_manifests(registry, plan)
    except RegistryError as error:
        if not _MISSING_BLOB & set(error.codes):
            raise
        # A blob went away after it was seen, or the registry remembers one it no longer has.
        named = [blob for blob in plan.blobs if blob.descriptor.digest in error.details]
        progress.note("the registry lacks a blob it said it had; uploading it again")
        _put_blobs(request, registry, progress, named or plan.blobs, force=True)
        return _put_manifests(registry, plan)


def move_tag(registry: Registry, tag: str, root: Manifest, *, moved: Sequence[str] = ()) -> None:
    """Make `tag` name a manifest that is in the registry.

    Raises PushError that says whether the tag may have moved, and which were `moved` before it.
    """
    digest = root.descriptor.digest
    before = f"; these tags were already moved: {', '.join(moved)}" if moved else ""
    try:
        registry.put_manifest(
            root.data, media_type=root.descriptor.media_type, reference=tag, digest=digest
        )
    except RegistryError as error:
        raise PushError(f"{error}{before}") from error
    except (CancelledError, TransportError) as error:
        # The request may have arrived although its answer did not.
        if isinstance(error, TransportError) and _names(registry, tag, digest):
            return
        cause = str(error) or "interrupted"
        raise PushError(f"{cause}; tag '{tag}' may or may not have been moved{before}") from error


def _names(registry: Registry, tag: str, digest: str) -> bool:
    try:
        return registry.manifest_digest(tag) == digest
    except (RegistryError, TransportError):
        return False


def describe(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str:
    """Say what `push` would do, asking the registry and changing nothing there."""
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
        progress.note(f"{request.repository}:{tag}: would name the last manifest")
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
    """Bring every blob into the repository; `force` uploads those it claims to have, too."""
    with ThreadPoolExecutor(max_workers=request.jobs) as pool:
        asked = [pool.submit(_is_there, registry, progress, blob) for blob in blobs]
        absent = [blob for blob, answer in zip(blobs, asked, strict=True) if not answer.result()]
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
    parser = session.make_parser("push", (__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--layout", type=Path, help="the layout to push; the target sets it")
    add("-t", "--tag", action="append", default=[], help="tag to set, beside the target's own")
    add("--platform", metavar="OS/ARCH", help="push only this image of an index")
    add("--allow-nondistributable-artifacts", action="store_true", help="push foreign layers too")
    add(
        "--mount-from",
        action="append",
        default=[],
        metavar="NAME",
        help="repository of the same registry that may have some of the blobs",
    )
    add("--jobs", type=session.positive, default=4, help="uploads at the same time (default 4)")
    return parser


def make_request(flags: argparse.Namespace, caller: Caller) -> Request:
    """Join the flags with what the target says; raises PushError, InvalidReferenceError, OSError.

    Paths of the target are relative to its runfiles, paths on the command line to the caller.
    """
    root, target = session.read_target(flags, caller)
    if flags.layout:
        layout = caller.here / flags.layout
    elif "layout" in target:
        layout = root / target["layout"]
    else:
        raise PushError("there is nothing to push. Please pass --layout flag.")
    tags = list(flags.tag)
    if target.get("remote_tags"):
        tags += (root / target["remote_tags"]).read_text(encoding="utf-8").splitlines()
    repository = session.choose_repository(flags, root, target)
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
    """A repository beside `repository`, given with or without the registry's host."""
    bare = name.removeprefix(f"{repository.host}/")
    return parse_repository(f"{repository.host}/{bare}").name


def _run(flags: argparse.Namespace, caller: Caller) -> str:
    request = make_request(flags, caller)
    plan = make_plan(
        request.layout, platform=request.platform, nondistributable=request.nondistributable
    )
    registry = session.connect(flags, request.repository, caller, mount_from=request.mount_from)
    act: Callable[[Request, Registry, Progress, Plan], str] = describe if flags.dry_run else push
    return f"{request.repository}@{act(request, registry, caller.progress, plan)}"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code: 0, 1 for a failure, 130 when interrupted."""
    return session.run(_parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
