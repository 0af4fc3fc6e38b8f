"""Look for traces of the machine that built an image: its paths, its users, the time.

    traces.py --image DIR

Guarantee: exit code 0 means that no entry of any layer has one of the traces in its name or its
content, or an owner's name, and that all entries have one and the same time.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.cli import tool
from tools.image.layout import read_layout

# What Bazel calls its directories, wherever they are.
BUILD_PATHS = (b"/execroot/", b"/bazel-out/", b"/linux-sandbox/", b"/.cache/pinned_image")


def traces_of_this_machine() -> tuple[bytes, ...]:
    """Return what a careless build here would leave in a file, as bytes.

    The host's and the user's bare names are not among them, because they are words like others
    ("debian", "tester"); `rebuild.py` shows that they change nothing.
    """
    home = pwd.getpwuid(os.getuid()).pw_dir
    # Packages do name root's home.
    homes = (os.fsencode(home + "/"),) if home not in ("/", "/root") else ()
    return (*BUILD_PATHS, os.fsencode(Path.cwd()), *homes)


def findings(layers: Iterable[Path], traces: Sequence[bytes]) -> list[str]:
    """Return a line for each trace of a machine in the layers.

    Raise tarfile.ReadError if a layer is not a tar archive.
    """
    found = []
    times = set()
    for layer in layers:
        with tarfile.open(layer) as tar:
            for entry in tar:
                times.add(entry.mtime)
                if entry.uname or entry.gname:
                    found.append(f"{entry.name}: has an owner's name, {entry.uname}:{entry.gname}")
                stream = tar.extractfile(entry) if entry.isreg() else None
                content = stream.read() if stream else b""
                text = (
                    os.fsencode(entry.name) + b"\n" + os.fsencode(entry.linkname) + b"\n" + content
                )
                found.extend(
                    f"{entry.name}: has {trace.decode(errors='replace')!r} in it"
                    for trace in traces
                    if trace in text
                )
    if len(times) > 1:
        found.append(
            f"entries have {len(times)} different times, from {min(times)} to {max(times)}"
        )
    return found


@tool("traces")
def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if there is no trace, 1 with a line for each if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, required=True, help="OCI layout directory")
    args = parser.parse_args(argv)
    layers = [layer.path for layer in read_layout(args.image).layers]
    found = findings(layers, traces_of_this_machine())
    for line in found:
        print(f"TRACE: {line}", file=sys.stderr)
    print(f"{len(layers)} layers read, {len(found)} traces of a build machine found")
    return 1 if found or not layers else 0


if __name__ == "__main__":
    sys.exit(main())
