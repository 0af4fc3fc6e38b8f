r"""Pack the machinery as an archive that other repositories fetch: same files, same bytes.

    release --version 2.0.0 --module release.MODULE.bazel --out pinned_image-2.0.0.tar.gz \
        --descriptor release.json --snippet release.txt @release_sources//…/cli.py.src …

Everything lies below `pinned_image-VERSION/`. Sources are named `<path>.src` in the repository
`release_sources`. MODULE.bazel is `--module` with its `{version}` replaced. The snippet is what a
WORKSPACE and a registry's source.json want to know.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.archive.layer import LayerWriter
from tools.cli import ToolError, tool

NAME = "pinned_image"
_REPOSITORY = "release_sources/"
_SUFFIX = ".src"
# 1980: the first year that every archive format can hold. A release has no time of its own.
_MTIME = 315532800

_SNIPPET = """\
http_archive(
    name = "{name}",
    sha256 = "{sha256}",
    strip_prefix = "{name}-{version}",
    urls = ["https://YOUR.HOST/{name}-{version}.tar.gz"],
)

source.json of a registry: {{"url": "https://YOUR.HOST/{name}-{version}.tar.gz",
  "strip_prefix": "{name}-{version}", "integrity": "{integrity}"}}
"""


def path_in_release(source: Path) -> str:
    """Return the path below the release's directory; raise ToolError for a foreign file."""
    _, marker, path = source.as_posix().rpartition(_REPOSITORY)
    if not marker or not path.endswith(_SUFFIX):
        raise ToolError(f"{source}: not a file of the repository release_sources")
    return path.removesuffix(_SUFFIX)


def collect(sources: Iterable[Path], *, version: str, module: str) -> LayerWriter:
    """Return the archive's entries; modes are 0755 for what its owner may execute, else 0644."""
    archive = LayerWriter(mtime=_MTIME)
    top = f"{NAME}-{version}"
    for source in sources:
        mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
        archive.add_file(f"{top}/{path_in_release(source)}", source.read_bytes(), mode=mode)
    archive.add_file(
        f"{top}/MODULE.bazel", module.replace("{version}", version).encode(), mode=0o644
    )
    return archive


@tool("release")
def main(argv: list[str] | None = None) -> None:
    """Write the archive, its digests, and what to paste."""
    parser = argparse.ArgumentParser(
        description="Pack the machinery for other repositories.", fromfile_prefix_chars="@"
    )
    parser.add_argument("--version", required=True, help="of the release, such as 1.0.0")
    parser.add_argument("--module", type=Path, required=True, help="template of MODULE.bazel")
    parser.add_argument("--out", type=Path, required=True, help="the archive, a .tar.gz")
    parser.add_argument("--descriptor", type=Path, required=True, help="its digests, JSON")
    parser.add_argument("--snippet", type=Path, required=True, help="what to paste")
    parser.add_argument("--source", type=Path, action="append", required=True, help="a file")
    options = parser.parse_args(argv)
    archive = collect(
        options.source, version=options.version, module=options.module.read_text(encoding="utf-8")
    )
    digest = archive.write(options.out, options.descriptor).digest.removeprefix("sha256:")
    options.snippet.write_text(
        _SNIPPET.format(
            integrity=f"sha256-{base64.b64encode(bytes.fromhex(digest)).decode()}",
            name=NAME,
            sha256=digest,
            version=options.version,
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
