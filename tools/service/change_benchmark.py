"""What a change costs: seconds, bytes that actions write, bytes of an image's blobs that are new.

    python3 -m tools.service.change_benchmark --target //backend:image_amd64 --patch one_line.diff

Builds the target, applies a patch in git's format, builds again, takes the patch back. Without a
patch nothing is changed, and nothing should be written. Numbers are printed and never judged: the
time depends on the machine, and a remote cache transfers the bytes that are shown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.layout import Image, read_layout

BAZEL = "tools/bazelw"


@dataclass(frozen=True)
class Cost:
    """Of one build: seconds, and the bytes written by the actions of each mnemonic."""

    seconds: float
    written: Counter[str]


def build(target: str, *, flags: list[str]) -> Cost:
    """Build a target and see what its actions wrote; raises CalledProcessError."""
    with tempfile.NamedTemporaryFile(suffix=".json", dir=Path.cwd()) as log:
        command = [BAZEL, "build", target, f"--execution_log_json_file={log.name}", *flags]
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.monotonic() - started
        text = Path(log.name).read_text(encoding="utf-8")
    written: Counter[str] = Counter()
    for spawn in _objects(text):
        # The log follows links; what is written, and what a cache is sent, is the link itself.
        sizes = (Path(each["path"]).lstat().st_size for each in spawn.get("actualOutputs", []))
        written[spawn.get("mnemonic", "?")] += sum(sizes)
    return Cost(seconds, written)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that Bazel writes one after the other, without a list around them."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        yield value
        while position < len(text) and text[position].isspace():
            position += 1


@contextmanager
def patched(patch: Path | None) -> Iterator[None]:
    """Have a patch applied; raises CalledProcessError when it does not fit."""
    if patch is None:
        yield
        return
    subprocess.run(["git", "apply", str(patch)], check=True)  # noqa: S607 - whichever git there is
    try:
        yield
    finally:
        subprocess.run(["git", "apply", "--reverse", str(patch)], check=True)  # noqa: S607 - as above


def blobs(image: Image) -> dict[str, int]:
    """Return the blobs of an image that a push would send: digest to size in bytes."""
    config = image.manifest["config"]
    return {
        config["digest"]: int(config["size"]),
        **{layer.digest: layer.size for layer in image.layers},
    }


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", required=True, help="an image, such as //backend:image_amd64")
    parser.add_argument("--patch", type=Path, help="a change in git's format")
    parser.add_argument("--flag", action="append", default=[], help="a flag for Bazel; repeatable")
    flags = parser.parse_args()
    package, _, name = flags.target.removeprefix("//").partition(":")
    layout = Path("bazel-bin") / package / name
    try:
        build(flags.target, flags=flags.flag)
        before = blobs(read_layout(layout))
        with patched(flags.patch):
            cost = build(flags.target, flags=flags.flag)
            after = blobs(read_layout(layout))
    except subprocess.CalledProcessError as error:
        print(f"ERROR: {error}\n{(error.stderr or b'').decode()[-2000:]}", file=sys.stderr)
        return 1
    print(f"{cost.seconds:.1f} s")
    for mnemonic, size in cost.written.most_common():
        print(f"{size:>12,} bytes written by {mnemonic}")
    print(f"{cost.written.total():>12,} bytes written")
    new = {digest: size for digest, size in after.items() if digest not in before}
    print(f"{sum(new.values()):>12,} bytes in {len(new)} new of {len(after)} blobs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
