"""Sign an image and what is said of it, as cosign does, with a key that Bazel never sees.

    bazel run //backend:sign -- --key cosign.key registry.example/app:v1
    bazel run //backend:sign -- --key env://KEY --rebuilder https://me.example --output DIR
    bazel run //backend:sign -- --key cosign.key --public-key > cosign.pub

Only what this checkout makes is signed: the reference's digest, or what the repository has of the
index and its images. Signatures go where cosign 2 and podman (tags) and cosign 3 (referrers) look
for them; with --output into a new layout directory, as of `cosign save`. Signing again with the
same key changes nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.attest import cosign, dsse, simple_signing, statement, store
from tools.attest.keys import PrivateKey, load_private_key
from tools.attest.rebuild import rebuild_statement
from tools.cli import ToolError, tool
from tools.image import spec
from tools.image.layout import Layout, open_layout, read_children
from tools.image.spec import Descriptor
from tools.registry import cli
from tools.registry.cli import CliContext
from tools.registry.progress import Progress
from tools.registry.reference import Reference, parse_reference
from tools.registry.registry import Registry

_GIT_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Signature:
    """What is to be stored of one image: a document, signed, in each of cosign's two forms."""

    image: Descriptor
    suffix: str
    layer: cosign.Layer
    kind: str
    bundle: bytes
    # The statement alone, in its envelope.
    envelope: bytes


@dataclass(frozen=True)
class Request:
    """What to sign: an image or index of a layout, and statements about it."""

    layout: Layout
    statements: tuple[bytes, ...]
    attested: tuple[tuple[str, Path], ...] = ()
    rebuilder: str = ""
    revision: str = ""
    source: str = ""

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The index, if it is one, and the images: everything that may be signed."""
        root = self.layout.root
        is_index = root.media_type in spec.INDEX_TYPES
        found = (root, *(read_children(self.layout, root) if is_index else ()))
        # What an index says of an image besides, its platform, is of no use here.
        return tuple(Descriptor(each.media_type, each.digest, each.size) for each in found)


def signatures(
    request: Request, image: Descriptor, key: PrivateKey, repository: str
) -> Iterator[Signature]:
    """Yield the signature of an image and those of the statements about it; raise ToolError.

    For a rebuilder: that of its own statement alone.
    """
    digest = image.digest
    if request.rebuilder:
        payload = rebuild_statement(
            digest,
            rebuilder=request.rebuilder,
            revision=request.revision,
            source=request.source,
        )
        yield _attestation(image, statement.REBUILD, payload, key)
        return
    payload = simple_signing.make_payload(repository, digest)
    layer = cosign.signature_layer(payload, key.sign(payload))
    signed = statement.make_statement({digest: repository}, statement.SIGNATURE, {})
    envelope = dsse.sign(signed, key)
    bundle = dsse.bundle(envelope, key.public)
    yield Signature(image, "sig", layer, statement.SIGNATURE, bundle, b"")
    for payload in request.statements:
        found = statement.read_statement(payload)
        if digest in found.digests:
            yield _attestation(image, found.kind, payload, key)
    for kind, path in request.attested:
        predicate = statement.parse_object(path.read_bytes())
        payload = statement.make_statement({digest: ""}, kind, predicate)
        yield _attestation(image, kind, payload, key)


def _attestation(image: Descriptor, kind: str, payload: bytes, key: PrivateKey) -> Signature:
    envelope = dsse.sign(payload, key)
    encoded = spec.encode_json(envelope.to_json())
    layer = cosign.statement_layer(encoded, kind)
    return Signature(image, "att", layer, kind, dsse.bundle(envelope, key.public), encoded)


def choose(request: Request, reference: Reference, registry: Registry) -> list[Descriptor]:
    """Return what to sign of the images: those that the reference means, and the registry has.

    Raise ToolError when it means an image that this checkout does not make.
    """
    images = {each.digest: each for each in request.images}
    wanted = reference.digest
    if wanted is None and reference.tag is not None:
        wanted = registry.manifest_digest(reference.tag)
        if wanted is None:
            raise ToolError(f"{reference}: is not in the registry; push it first")
    if wanted is not None and wanted not in images:
        raise ToolError(
            f"{reference}: is {wanted}, which this checkout does not make: "
            f"it makes {', '.join(images)}; only what was built here is signed"
        )
    there = [each for each in images.values() if registry.manifest_digest(each.digest) is not None]
    chosen = [each for each in there if wanted in (None, each.digest, request.layout.root.digest)]
    if not chosen or (wanted and wanted not in [each.digest for each in chosen]):
        raise ToolError(
            f"{reference}: the registry has none of {', '.join(images)}; push the image first"
        )
    return chosen


def _push(made: Sequence[Signature], registry: Registry, context: CliContext) -> None:
    # Of many small files, what was signed says more than what was uploaded.
    quiet = replace(context, progress=Progress(io.StringIO()))
    for image in dict.fromkeys(each.image for each in made):
        of_image = [each for each in made if each.image == image]
        for suffix in ("sig", "att"):
            layers = [each.layer for each in of_image if each.suffix == suffix]
            if layers:
                store.push_layers(registry, quiet, image.digest, suffix, layers)
        for each in of_image:
            store.push_bundle(registry, quiet, image, each.kind, each.bundle)
            context.say(f"{registry.repository}@{image.digest}: {_what(each)}: signed")


def _what(signature: Signature) -> str:
    return "image" if signature.suffix == "sig" else statement.short_name(signature.kind)


def _save(request: Request, made: Sequence[Signature], out: Path) -> None:
    store.write_layout(request.layout, request.layout.root, out)
    for image in request.images:
        for suffix in ("sig", "att"):
            layers = [each.layer for each in made if each.image == image and each.suffix == suffix]
            if layers:
                store.save_layers(out, image.digest, suffix, layers)


def _save_rebuild(made: Sequence[Signature], key: PrivateKey, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for each in made:
        digest = each.image.digest.removeprefix("sha256:")
        name = f"{digest[:16]}.{key.public.fingerprint[:16]}.rebuild.json"
        (out / name).write_bytes(each.envelope)


def _revision(context: CliContext) -> str:
    """Return the commit of the workspace, which must have no change besides; raise ToolError."""
    workspace = context.environ.get("BUILD_WORKSPACE_DIRECTORY", str(context.here) or ".")
    if _git(workspace, "status", "--porcelain"):
        raise ToolError(
            f"{workspace}: has changes that are not committed, so no revision made the image; "
            "commit them, or give --revision"
        )
    return _git(workspace, "rev-parse", "HEAD")


def _git(workspace: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", workspace, *arguments],  # noqa: S607 - the one on the user's PATH
            # Within a hook git sets variables that lead to another repository.
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        cause = getattr(error, "stderr", None) or error
        raise ToolError(
            f"{workspace}: git {arguments[0]}: {str(cause).strip()}; give --revision"
        ) from error
    return done.stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = cli.connection_parser("sign", (__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("reference", nargs="?", metavar="REFERENCE", help="HOST/NAME[:TAG][@DIGEST] to sign")
    add(
        "--key",
        required=True,
        metavar="KEY",
        help="private key in PEM (PKCS#8; P-256 or Ed25519): a file, or env://NAME; "
        "the password of an encrypted one is COSIGN_PASSWORD, or asked for",
    )
    add("--public-key", action="store_true", help="print the public key; sign nothing")
    add(
        "--attest",
        action="append",
        default=[],
        metavar="TYPE=FILE",
        help="sign this too: a predicate in JSON, its type as cosign's short name (openvex) or URI",
    )
    add("--output", type=Path, metavar="DIR", help="write there, and nothing to the registry")
    add(
        "--rebuilder",
        default="",
        metavar="URI",
        help="sign only the statement that you (URI) rebuilt the image from this revision",
    )
    add("--revision", help="commit that was built (default: the checkout's, without changes)")
    add("--source", default="", metavar="URI", help="its repository, such as git+https://…")
    add("--layout", type=Path, help="layout of the image or index; set by the target")
    add("--dry-run", action="store_true", help="print what would be signed; change nothing")
    parser.set_defaults(image_refs=None)
    parser.epilog = "exit code: 0 signed; 1 a failure, with its cause; 130 interrupted"
    return parser


def make_request(flags: argparse.Namespace, context: CliContext) -> Request:
    """Join the flags with the target's attributes; raise ToolError or OSError."""
    root, target = cli.read_target(flags, context)
    if not flags.layout and "layout" not in target:
        raise ToolError("no layout is set; pass --layout")
    layout = context.here / flags.layout if flags.layout else root / target["layout"]
    attested = []
    for text in flags.attest:
        kind, separator, file = text.partition("=")
        if not separator or not kind or not file:
            raise ToolError(f"--attest '{text}' must be TYPE=FILE")
        attested.append((statement.type_of(kind), context.here / file))
    request = Request(
        layout=open_layout(layout),
        statements=tuple((root / name).read_bytes() for name in target.get("statements", ())),
        attested=tuple(attested),
        rebuilder=flags.rebuilder,
        revision=(flags.revision or _revision(context)) if flags.rebuilder else "",
        source=flags.source,
    )
    images = {each.digest for each in request.images}
    for name, payload in zip(target.get("statements", ()), request.statements, strict=True):
        about = statement.read_statement(payload).digests
        if not images & set(about):
            raise ToolError(f"{name}: is about {', '.join(about)}, which is no image of {layout}")
    return request


def _run(flags: argparse.Namespace, context: CliContext) -> str:
    key = load_private_key(flags.key, here=context.here, environ=context.environ)
    if flags.public_key:
        return key.public.pem.decode().strip()
    if not flags.reference and not (flags.output and flags.rebuilder):
        raise ToolError("REFERENCE is missing: a signature names the image's repository")
    request = make_request(flags, context)
    reference = parse_reference(flags.reference) if flags.reference else None
    name = str(reference.repository) if reference else ""
    if flags.output:
        made = [each for image in request.images for each in signatures(request, image, key, name)]
        out = context.here / flags.output
        if flags.rebuilder:
            _save_rebuild(made, key, out)
        else:
            _save(request, made, out)
        return str(out)
    assert reference is not None  # noqa: S101 - checked above
    registry = cli.connect(flags, reference.repository, context)
    chosen = choose(request, reference, registry)
    made = [each for image in chosen for each in signatures(request, image, key, name)]
    if flags.dry_run:
        for each in made:
            context.say(f"{name}@{each.image.digest}: {_what(each)}: would be signed")
    else:
        _push(made, registry, context)
    return f"{name}@{chosen[0].digest}"


@tool("sign")
def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 for a failure, 130 when interrupted."""
    return cli.run(_parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
