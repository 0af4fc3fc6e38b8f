"""What a change costs: seconds, bytes that actions write, bytes of an image's blobs that are new.

    python3 -m tools.service.change_benchmark --target //backend:image_amd64 --patch one_line.diff

Builds the target, applies a patch in git's format, builds again, takes the patch back. Without a
patch nothing is changed, and nothing should be written. Numbers are printed and never judged: the
time depends on the machine, and a remote cache transfers the bytes that are shown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError, tool
from tools.image.layout import Image, read_layout
from tools.service.bazel_for_test import read_log


@dataclass(frozen=True)
class Cost:
    """Of one build: seconds, and the bytes written by the actions of each mnemonic."""

    seconds: float
    written: Counter[str]


def build(target: str, *, flags: list[str]) -> Cost:
    """Build a target and see what its actions wrote."""
    with tempfile.NamedTemporaryFile(suffix=".json", dir=Path.cwd()) as log:
        started = time.monotonic()
        _run("tools/bazelw", "build", target, f"--execution_log_json_file={log.name}", *flags)
        seconds = time.monotonic() - started
        spawns = list(read_log(Path(log.name)))
    written: Counter[str] = Counter()
    for spawn in spawns:
        # The log follows links; what is written, and what a cache is sent, is the link itself.
        sizes = (Path(each["path"]).lstat().st_size for each in spawn.get("actualOutputs", []))
        written[spawn.get("mnemonic", "?")] += sum(sizes)
    return Cost(seconds, written)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace")[-2000:]
        raise ToolError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")


@contextmanager
def patched(patch: Path | None) -> Iterator[None]:
    """Have a patch applied. Raise ToolError when it does not fit."""
    if patch is None:
        yield
        return
    _run("git", "apply", str(patch))
    try:
        yield
    finally:
        _run("git", "apply", "--reverse", str(patch))


def blobs(image: Image) -> dict[str, int]:
    """Return the blobs of an image that a push would send: digest to size in bytes."""
    config = image.manifest["config"]
    return {
        config["digest"]: int(config["size"]),
        **{layer.digest: layer.size for layer in image.layers},
    }


@tool("change_benchmark")
def main(argv: list[str] | None = None) -> None:
    """Print what the change on the command line costs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", required=True, help="an image, such as //backend:image_amd64")
    parser.add_argument("--patch", type=Path, help="a change in git's format")
    parser.add_argument("--flag", action="append", default=[], help="a flag for Bazel; repeatable")
    flags = parser.parse_args(argv)
    package, _, name = flags.target.removeprefix("//").partition(":")
    layout = Path("bazel-bin") / package / name
    build(flags.target, flags=flags.flag)
    before = blobs(read_layout(layout))
    with patched(flags.patch):
        cost = build(flags.target, flags=flags.flag)
        after = blobs(read_layout(layout))
    print(f"{cost.seconds:.1f} s")
    for mnemonic, size in cost.written.most_common():
        print(f"{size:>12,} bytes written by {mnemonic}")
    print(f"{cost.written.total():>12,} bytes written")
    new = {digest: size for digest, size in after.items() if digest not in before}
    print(f"{sum(new.values()):>12,} bytes in {len(new)} new of {len(after)} blobs")


if __name__ == "__main__":
    sys.exit(main())
