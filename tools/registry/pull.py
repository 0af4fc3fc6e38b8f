"""A repository in a registry -> an OCI layout directory of one image.

    pull resolve --image HOST/NAME --reference TAG
    pull missing --image HOST/NAME --reference sha256:… --layout DIR [--platform os/arch]
    pull fetch   --image HOST/NAME --reference sha256:… --layout DIR [--platform os/arch]

`resolve` prints the digest of a tag. `missing` asks no network and prints, as JSON, the digests
that are not among the directory's blobs as far as they are known; whoever has them elsewhere can
put them there. `fetch` gets the others, prints their digests as `missing` does, and completes the
layout; when nothing is missing it asks no network either. Every byte is verified by its digest, so
the same digest gives the same directory. No secret is printed, by any failure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.image.layout import LayoutError, blob_path
from tools.image.spec import Descriptor, sha256_digest
from tools.oci.layout_writer import write_index
from tools.registry import download
from tools.registry.credentials import CredentialsError, find_credentials
from tools.registry.errors import RegistryError, scrub
from tools.registry.progress import size_text
from tools.registry.pull_plan import Plan, PullError, make_plan, media_type_of
from tools.registry.reference import InvalidReferenceError, parse_repository, parse_tag
from tools.registry.registry import Registry
from tools.registry.transport import Options, Transport, TransportError

# Layers at a time: enough to hide answers' latency, few enough for a registry's limits.
_JOBS = 4
_FAILURES = (
    CredentialsError,
    InvalidReferenceError,
    LayoutError,
    PullError,
    RegistryError,
    TransportError,
    OSError,
)


def resolve(registry: Registry, reference: str) -> str:
    """The digest a tag names now; raises PullError, RegistryError, TransportError."""
    data = download.fetch_manifest(registry, parse_tag(reference))
    media_type_of(data, source=f"{registry.repository}:{reference}")
    return sha256_digest(data)


def fetch(
    client: Callable[[], Registry], layout: Path, *, digest: str, platform: str | None
) -> list[str]:
    """Get what is missing, complete the layout, and return the digests of what was fetched.

    `client` is called when something is missing. Raises what `main` reports.
    """
    fetched: list[str] = []
    plan = make_plan(layout, digest=digest, platform=platform)
    registry = client() if plan.missing else None
    while registry and plan.missing:
        if plan.document:
            file = blob_path(layout, plan.document)
            data = download.fetch_manifest(registry, plan.document)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        else:
            _fetch_blobs(registry, layout, plan)
        fetched += plan.missing
        plan = make_plan(layout, digest=digest, platform=platform)
    if plan.manifest is not None:
        write_index(layout, plan.manifest)
    return fetched


def _fetch_blobs(registry: Registry, layout: Path, plan: Plan) -> None:
    def fetch_one(blob: Descriptor) -> None:
        download.fetch_blob(registry, blob, blob_path(layout, blob.digest))
        print(f"{blob.digest}: {size_text(blob.size)}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(_JOBS, thread_name_prefix="pull") as pool:
        futures = [pool.submit(fetch_one, blob) for blob in plan.blobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            registry.transport.cancel()
            pool.shutdown(cancel_futures=True)
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pull", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("command", choices=("resolve", "missing", "fetch"), help="what to do; see above")
    add("--image", required=True, help="HOST/NAME, with 'http://' in front to allow plain HTTP")
    add("--reference", required=True, help="a digest, sha256:…; a tag for `resolve`")
    add("--layout", type=Path, default=Path(), help="directory of the layout")
    add("--platform", help="os/architecture[/variant]; needed for an image index")
    add("--config", type=Path, metavar="FILE", help="the only file to look for credentials in")
    return parser


def connect(image: str, *, config: Path | None, environ: Mapping[str, str]) -> Registry:
    """A client of the image's repository, authorised to read; raises what `main` reports."""
    scheme, _, name = image.rpartition("://")
    if scheme not in ("", "http", "https"):
        raise PullError(f"{image}: '{scheme}' is neither http nor https")
    repository = parse_repository(name)
    credentials = find_credentials(
        repository, environ=environ, files=None if config is None else [config]
    )
    secrets: list[str] = []
    transport = Transport(
        Options(insecure=scheme == "http", environ=environ),
        warn=lambda line: print(scrub(line, secrets), file=sys.stderr, flush=True),
    )
    registry = Registry(transport, repository, credentials=credentials, secrets=secrets)
    try:
        registry.connect(actions="pull")
    except (RegistryError, TransportError) as error:
        raise PullError(scrub(str(error), secrets)) from None
    return registry


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    flags = _parser().parse_args(argv)
    try:
        if flags.command == "missing":
            plan = make_plan(flags.layout, digest=flags.reference, platform=flags.platform)
            print(json.dumps(plan.missing))
            return 0

        def client() -> Registry:
            return connect(flags.image, config=flags.config, environ=os.environ)

        if flags.command == "resolve":
            print(resolve(client(), flags.reference))
            return 0
        fetched = fetch(client, flags.layout, digest=flags.reference, platform=flags.platform)
        print(json.dumps(fetched))
    except _FAILURES as error:
        print(f"ERROR: {flags.image}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
