"""An OCI layout -> a repository in a registry.

    bazel run //backend:push -- --repository HOST/NAME --tag T

Blobs that the registry has are skipped, the others are uploaded in parallel; then the manifests are
stored by digest, children before the index that lists them; tags are moved last of all. So a tag
never names an image that is not completely there, whenever the push is interrupted.
Prints the digest reference of what was pushed. No secret is printed, by any failure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tools.oci.answers import RegistryError, scrub
from tools.oci.credentials import CredentialsError, find_credentials
from tools.oci.layout import LayoutError
from tools.oci.progress import Progress, size_text
from tools.oci.push_plan import Blob, Manifest, Plan, make_plan
from tools.oci.reference import (
    InvalidReferenceError,
    Repository,
    parse_repository,
    parse_tag,
)
from tools.oci.registry import Registry
from tools.oci.transport import CancelledError, Options, Transport, TransportError
from tools.oci.upload import upload_blob

_MISSING_BLOB = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}
_INTERRUPTED = 130
_FAILURES = (
    CredentialsError,
    InvalidReferenceError,
    LayoutError,
    RegistryError,
    TransportError,
    OSError,
)


class PushError(Exception):
    """The push failed, or the flags and attributes together do not say what to do."""


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
    dry_run: bool = False


def push(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str:
    """Carry out `plan` on a connected registry and give the digest of what was pushed.

    Raises RegistryError, TransportError and CancelledError. No tag is moved before everything else
    is there; an error says which tags were.
    """
    _put_blobs(request, registry, progress, plan.blobs, force=False)
    try:
        _put_manifests(registry, plan)
    except RegistryError as error:
        if not _MISSING_BLOB & set(error.codes):
            raise
        # A blob went away after it was seen, or the registry remembers one it no longer has.
        named = [blob for blob in plan.blobs if blob.descriptor.digest in error.details]
        progress.note("the registry lacks a blob it said it had; uploading it again")
        _put_blobs(request, registry, progress, named or plan.blobs, force=True)
        _put_manifests(registry, plan)
    _put_tags(request, registry, progress, plan.root)
    return plan.root.descriptor.digest


def _put_tags(request: Request, registry: Registry, progress: Progress, root: Manifest) -> None:
    for position, tag in enumerate(request.tags):
        try:
            registry.put_manifest(
                root.data,
                media_type=root.descriptor.media_type,
                reference=tag,
                digest=root.descriptor.digest,
            )
        except (CancelledError, RegistryError, TransportError) as error:
            moved = ", ".join(request.tags[:position])
            if not moved:
                raise
            cause = str(error) or "interrupted"
            raise PushError(f"{cause}; these tags were already moved: {moved}") from error
        progress.note(f"{request.repository}:{tag}")


def describe(request: Request, registry: Registry, progress: Progress, plan: Plan) -> str:
    """Say what `push` would do, asking the registry and changing nothing there."""
    missing = 0
    for blob in plan.blobs:
        present = registry.has_blob(blob.descriptor.digest)
        missing += 0 if present else blob.descriptor.size
        progress.note(f"{_name(blob)}: {'in the registry' if present else 'would be uploaded'}")
    for manifest in plan.manifests:
        progress.note(f"manifest {manifest.descriptor.digest}: would be stored")
    for tag in request.tags:
        progress.note(f"{request.repository}:{tag}: would name the last manifest")
    progress.note(f"{size_text(missing)} would be uploaded")
    return plan.root.descriptor.digest


def _put_manifests(registry: Registry, plan: Plan) -> None:
    for manifest in plan.manifests:
        digest = manifest.descriptor.digest
        registry.put_manifest(
            manifest.data,
            media_type=manifest.descriptor.media_type,
            reference=digest,
            digest=digest,
        )


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
        progress.finish(_name(blob), "already in the registry")
    return present


def _upload(
    request: Request, registry: Registry, progress: Progress, blob: Blob, *, force: bool
) -> None:
    name = _name(blob)
    if not force:
        for source in request.mount_from:
            if registry.mount_blob(blob.descriptor.digest, source=source):
                progress.finish(name, f"mounted from {source}")
                return
    upload_blob(
        registry,
        blob.descriptor,
        blob.path,
        chunk=request.chunk,
        sent=lambda amount: progress.advance(name, amount),
    )
    progress.finish(name, "uploaded")


def _name(blob: Blob) -> str:
    return f"{blob.descriptor.digest[:19]} ({size_text(blob.descriptor.size)})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="push", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--runfiles", type=Path, help=argparse.SUPPRESS)
    add("--target", type=Path, help=argparse.SUPPRESS)
    add("--layout", type=Path, help="the layout to push; the target sets it")
    add("-r", "--repository", help="HOST[:PORT]/NAME to push to, instead of the target's own")
    add("-t", "--tag", action="append", default=[], help="tag to set, beside the target's own")
    add("--platform", metavar="OS/ARCH", help="push only this image of an index")
    add("--insecure", action="store_true", help="allow plain HTTP, and TLS without verification")
    add("--ca-file", type=Path, metavar="FILE", help="CA certificates to trust, in PEM")
    add("--allow-nondistributable-artifacts", action="store_true", help="push foreign layers too")
    add(
        "--mount-from",
        action="append",
        default=[],
        metavar="NAME",
        help="repository of the same registry that may have some of the blobs",
    )
    add("--jobs", type=_positive, default=4, help="uploads at the same time (default 4)")
    add(
        "--chunk-size",
        type=_positive,
        metavar="BYTES",
        help="split uploads into requests of this size; for proxies that limit it",
    )
    add("--retries", type=int, default=5, help="attempts after the first (default 5)")
    add("--timeout", type=float, default=300.0, metavar="SECONDS", help="wait for one answer")
    add("--dry-run", action="store_true", help="say what would be done; change nothing")
    add("--image-refs", type=Path, metavar="FILE", help="write the digest reference to FILE")
    add("-v", "--verbose", action="store_true", help="say where credentials come from")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {text}")
    return value


def make_request(flags: argparse.Namespace, *, here: Path) -> Request:
    """Join the flags with what the target says; raises PushError, InvalidReferenceError, OSError.

    `--target` is the JSON file that the rule wrote; paths in it are relative to `--runfiles`, paths
    on the command line to `here`.
    """
    root = flags.runfiles or here
    target = json.loads((root / flags.target).read_bytes()) if flags.target else {}
    if flags.layout:
        layout = here / flags.layout
    elif "layout" in target:
        layout = root / target["layout"]
    else:
        raise PushError("there is nothing to push. Please pass --layout flag.")
    repository = flags.repository or target.get("repository")
    if not repository and target.get("repository_file"):
        repository = (root / target["repository_file"]).read_text(encoding="utf-8").strip()
    if not repository:
        raise PushError("repository not set. Please pass --repository flag.")
    tags = list(flags.tag)
    if target.get("remote_tags"):
        tags += (root / target["remote_tags"]).read_text(encoding="utf-8").splitlines()
    return Request(
        layout=layout,
        repository=parse_repository(repository),
        tags=tuple(dict.fromkeys(parse_tag(tag.strip()) for tag in tags if tag)),
        platform=flags.platform,
        nondistributable=flags.allow_nondistributable_artifacts,
        mount_from=tuple(flags.mount_from),
        jobs=flags.jobs,
        chunk=flags.chunk_size,
        dry_run=flags.dry_run,
    )


def run(
    flags: argparse.Namespace, *, environ: Mapping[str, str], here: Path, progress: Progress
) -> str:
    """Push as the flags say and give the digest reference; raises what main reports."""
    request = make_request(flags, here=here)
    options = Options(
        insecure=flags.insecure,
        ca_file=here / flags.ca_file if flags.ca_file else None,
        retries=flags.retries,
        timeout=flags.timeout,
        environ=environ,
    )
    plan = make_plan(
        request.layout, platform=request.platform, nondistributable=request.nondistributable
    )
    credentials = find_credentials(request.repository, environ=environ)
    if flags.verbose or request.dry_run:
        source = credentials.source if credentials else "none found"
        progress.note(f"credentials for {request.repository.host}: {source}")
    secrets: list[str] = []
    transport = Transport(options, warn=lambda line: progress.note(scrub(line, secrets)))
    _cancel_on_signals(transport)
    registry = Registry(transport, request.repository, credentials=credentials, secrets=secrets)
    try:
        actions = "pull" if request.dry_run else "pull,push"
        registry.connect(actions=actions, mount_from=request.mount_from)
        act = describe if request.dry_run else push
        digest = act(request, registry, progress, plan)
    except (PushError, RegistryError, TransportError) as error:
        # A server may quote a request back; what must not be shown is taken out of its words.
        raise PushError(scrub(str(error), secrets)) from None
    return f"{request.repository}@{digest}"


def _cancel_on_signals(transport: Transport) -> None:
    """The first Ctrl-C or SIGTERM stops the push in good order, the second one at once."""

    def cancel(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        transport.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, cancel)


def _write_atomically(file: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code: 0, 1 for a failure, 130 when interrupted."""
    flags = _parser().parse_args(argv)
    progress = Progress(sys.stderr)
    try:
        # `bazel run` starts programs elsewhere and says where the user is.
        here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
        reference = run(flags, environ=os.environ, here=here, progress=progress)
        if flags.image_refs and not flags.dry_run:
            _write_atomically(here / flags.image_refs, f"{reference}\n")
    except CancelledError:
        progress.close()
        print("ERROR: interrupted; no tag was moved", file=sys.stderr)
        return _INTERRUPTED
    except (*_FAILURES, PushError) as error:
        progress.close()
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    progress.close()
    print(reference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
