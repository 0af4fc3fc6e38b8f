r"""Locked wheels, from the index this machine's pip uses, into a directory.

    fetch_wheels.py --wheel "numpy==2.4.6 0123… numpy-2.4.6-….whl" --pip DIR --output DIR

The repository rules run it for what Bazel's repository cache does not have. pip does the asking, so
proxies, certificates, credentials and mirrors behave as they do everywhere else on the machine; pip
also compares the hashes (`--require-hashes`). Standard library only: it runs before any wheel is
there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError, tool
from tools.wheels.pip_settings import fetching_environment, run_pip

_TIMEOUT_SECONDS = 1800
_RELOCK = "lock again with the command in the first lines of the lock"


@dataclass(frozen=True)
class WantedWheel:
    """A file to fetch: `pin` is name==version, `sha256` hexadecimal."""

    pin: str
    sha256: str
    filename: str


def parse_wheel(text: str) -> WantedWheel:
    """Read "PIN SHA256 FILENAME". Raises argparse.ArgumentTypeError."""
    words = text.split(" ")
    if len(words) != len(WantedWheel.__dataclass_fields__):
        message = f"{text!r} is not 'NAME==VERSION SHA256 FILENAME'"
        raise argparse.ArgumentTypeError(message)
    return WantedWheel(*words)


def _tags(filename: str) -> list[list[str]]:
    """Return the tags in a wheel's name: interpreters, ABIs, platforms.

    The name's parts are PyPA's "Binary distribution format". Raise ToolError for another shape.
    """
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in {5, 6}:
        wanted = "name-version[-build]-python-abi-platform.whl"
        raise ToolError(f"{filename!r} is not a wheel's name ({wanted}); {_RELOCK}")
    return [part.split(".") for part in parts[-3:]]


def pip_flags(filenames: Sequence[str]) -> list[str]:
    """Return the flags by which pip accepts the tags of these wheels, on any machine.

    Which file it is, is decided by the hash. Raise ToolError for a name that is not a wheel's.
    """
    platforms: set[str] = set()
    abis: set[str] = set()
    versions: set[str] = set()
    for filename in filenames:
        python, abi, platform = _tags(filename)
        if platform == ["any"]:
            continue
        platforms.update(platform)
        abis.update(abi)
        if "abi3" not in abi:
            versions.update(tag[2:] for tag in python if tag.startswith("cp"))
    if not platforms:
        return []
    flags = ["--implementation=cp"]
    flags += [f"--abi={abi}" for abi in sorted({*abis, "none"})]
    flags += [f"--platform={platform}" for platform in sorted(platforms)]
    return [*flags, *(f"--python-version={version}" for version in sorted(versions))]


def fetch(
    wheels: Sequence[WantedWheel], *, pip: Path, output: Path, environ: Mapping[str, str]
) -> None:
    """Download the wheels into `output` with the pip in directory `pip`. Raise ToolError."""
    named = ", ".join(wheel.filename for wheel in wheels)
    with tempfile.TemporaryDirectory(prefix="fetch-wheels-") as scratch:
        wanted = Path(scratch, "wanted.txt")
        lines = [f"{wheel.pin} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
        wanted.write_text("".join(lines), encoding="utf-8")
        arguments = ["download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        arguments += pip_flags([wheel.filename for wheel in wheels])
        arguments += [f"--dest={output}", f"--requirement={wanted}"]
        run_pip(
            arguments,
            pip=pip,
            environment=fetching_environment(environ),
            timeout_seconds=_TIMEOUT_SECONDS,
            failed=f"{named} could not be fetched. Set PIP_INDEX_URL if this machine needs an "
            f"index of its own; if a release was withdrawn, {_RELOCK}",
        )
    found = {entry.name for entry in output.iterdir()}
    missing = [wheel.filename for wheel in wheels if wheel.filename not in found]
    if missing:
        others = ", ".join(sorted(found - {wheel.filename for wheel in wheels})) or "nothing"
        raise ToolError(
            f"for the hash of {', '.join(missing)} the index offers {others}; {_RELOCK}"
        )


@tool("fetch_wheels")
def main(argv: list[str] | None = None) -> None:
    """Fetch the wheels the flags name; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--wheel",
        type=parse_wheel,
        action="append",
        required=True,
        help="'NAME==VERSION SHA256 FILENAME'; repeatable",
    )
    parser.add_argument("--pip", type=Path, required=True, help="directory with the package pip")
    parser.add_argument("--output", type=Path, required=True, help="directory to download into")
    args = parser.parse_args(argv)
    fetch(args.wheel, pip=args.pip, output=args.output, environ=os.environ)


if __name__ == "__main__":
    sys.exit(main())
