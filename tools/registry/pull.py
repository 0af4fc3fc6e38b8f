"""A repository in a registry → an OCI layout directory of one image.

    pull resolve --image HOST/NAME --reference TAG
    pull missing --image HOST/NAME --reference sha256:… --layout DIR [--platform os/arch]
    pull fetch   --image HOST/NAME --reference sha256:… --layout DIR [--platform os/arch]

`resolve` prints the digest of a tag. `missing` prints, as JSON, the digests that the directory
lacks, as far as they are known, without any network; a caller that has those blobs can put them
there. `fetch` downloads the others, prints their digests as `missing` does, and completes the
layout; when nothing is missing it uses no network either. Every byte is verified by its digest, so
the same digest gives the same directory. No error shows a secret.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.cli import ToolError, tool
from tools.image.layout import blob_path
from tools.image.names import parse_tag
from tools.image.spec import Descriptor, sha256_digest
from tools.oci.layout_writer import write_index
from tools.oci.prefix import prefixed
from tools.registry import download
from tools.registry.credentials import find_credentials
from tools.registry.errors import RegistryError, scrub
from tools.registry.progress import size_text
from tools.registry.pull_plan import make_plan, media_type_of
from tools.registry.reference import parse_repository
from tools.registry.registry import Registry
from tools.registry.transport import Options, Transport, TransportError

# Parallel downloads: enough to hide latency, few enough for a registry's limits.
_JOBS = 4


def resolve(registry: Registry, reference: str) -> str:
    """Return the digest that a tag points to now; raise ToolError."""
    data = download.fetch_manifest(registry, parse_tag(reference))
    media_type_of(data, source=f"{registry.repository}:{reference}")
    return sha256_digest(data)


def fetch(
    client: Callable[[], Registry], layout: Path, *, digest: str, platform: str | None
) -> list[str]:
    """Download what is missing, complete the layout, and return the digests that were fetched.

    `client` is called only if something is missing. Raise ToolError or OSError.
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
            fetch_blobs(registry, layout, plan.blobs)
        fetched += plan.missing
        plan = make_plan(layout, digest=digest, platform=platform)
    if plan.manifest is not None:
        write_index(layout, plan.manifest)
    return fetched


def fetch_blobs(registry: Registry, layout: Path, blobs: Sequence[Descriptor]) -> None:
    """Download blobs into a layout, several at a time; raise ToolError or OSError."""

    def fetch_one(blob: Descriptor) -> None:
        download.fetch_blob(registry, blob, blob_path(layout, blob.digest))
        print(f"{blob.digest}: {size_text(blob.size)}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(_JOBS, thread_name_prefix="pull") as pool:
        futures = [pool.submit(fetch_one, blob) for blob in blobs]
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
    add("command", choices=("resolve", "missing", "fetch"), help="see above")
    add("--image", required=True, help="HOST/NAME; http://HOST/NAME allows plain HTTP")
    add("--reference", required=True, help="a digest, sha256:…; a tag for `resolve`")
    add("--layout", type=Path, default=Path(), help="directory of the layout")
    add("--platform", help="os/architecture[/variant]; needed for an image index")
    add("--config", type=Path, metavar="FILE", help="the only file with credentials")
    return parser


def connect(image: str, *, config: Path | None, environ: Mapping[str, str]) -> Registry:
    """Return a client of the image's repository, authorized to read; raise ToolError."""
    scheme, _, name = image.rpartition("://")
    if scheme not in ("", "http", "https"):
        raise ToolError(f"{image}: '{scheme}' is neither http nor https")
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
        raise ToolError(scrub(str(error), secrets)) from None
    return registry


@tool("oci_pull")
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    flags = _parser().parse_args(argv)

    def client() -> Registry:
        return connect(flags.image, config=flags.config, environ=os.environ)

    with prefixed(flags.image):
        if flags.command == "missing":
            plan = make_plan(flags.layout, digest=flags.reference, platform=flags.platform)
            print(json.dumps(plan.missing))
        elif flags.command == "resolve":
            print(resolve(client(), flags.reference))
        else:
            fetched = fetch(client, flags.layout, digest=flags.reference, platform=flags.platform)
            print(json.dumps(fetched))


if __name__ == "__main__":
    sys.exit(main())
