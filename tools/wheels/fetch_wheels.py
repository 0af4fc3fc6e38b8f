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
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError
from tools.wheels.pip_settings import fetching_environment

_TIMEOUT_SECONDS = 1800
_RELOCK = "run `bazel run //third_party/python:lock`"


class FetchError(Exception):
    """A wheel could not be had; the message says which and what to do."""


@dataclass(frozen=True)
class WantedWheel:
    """A file to fetch: `pin` is name==version, `sha256` hexadecimal."""

    pin: str
    sha256: str
    filename: str


def parse_wheel(text: str) -> WantedWheel:
    """Reads "PIN SHA256 FILENAME". Raises argparse.ArgumentTypeError."""
    words = text.split(" ")
    if len(words) != len(WantedWheel.__dataclass_fields__):
        message = f"{text!r} is not 'NAME==VERSION SHA256 FILENAME'"
        raise argparse.ArgumentTypeError(message)
    return WantedWheel(*words)


def _tags(filename: str) -> list[list[str]]:
    """Returns the tags in a wheel's name: interpreters, ABIs, platforms.

    The name's parts are PyPA's "Binary distribution format". Raises FetchError for another shape.
    """
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in {5, 6}:
        wanted = "name-version[-build]-python-abi-platform.whl"
        message = f"{filename!r} is not a wheel's name ({wanted}); {_RELOCK}"
        raise FetchError(message)
    return [part.split(".") for part in parts[-3:]]


def pip_flags(filenames: Sequence[str]) -> list[str]:
    """Returns the flags by which pip accepts the tags of these wheels, on any machine.

    Which file it is, is decided by the hash. Raises FetchError for a name that is not a wheel's.
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
    """Downloads the wheels into `output` with the pip in directory `pip`. Raises FetchError."""
    environment = {**fetching_environment(environ), "PYTHONPATH": str(pip)}
    named = ", ".join(wheel.filename for wheel in wheels)
    with tempfile.TemporaryDirectory(prefix="fetch-wheels-") as scratch:
        wanted = Path(scratch, "wanted.txt")
        lines = [f"{wheel.pin} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
        wanted.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-cache-dir", "--progress-bar=off", "--require-hashes"]
        command += ["--only-binary=:all:", *pip_flags([wheel.filename for wheel in wheels])]
        command += [f"--dest={output}", f"--requirement={wanted}"]
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = f"the index did not deliver {named} within {_TIMEOUT_SECONDS} s; try again"
            raise FetchError(message) from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-8:])
        message = (
            f"pip could not fetch {named}. Set PIP_INDEX_URL if this machine needs an index of its "
            f"own; if a release was withdrawn, {_RELOCK}. pip says:\n{tail}"
        )
        raise FetchError(message)
    found = {entry.name for entry in output.iterdir()}
    missing = [wheel.filename for wheel in wheels if wheel.filename not in found]
    if missing:
        others = ", ".join(sorted(found - {wheel.filename for wheel in wheels})) or "nothing"
        message = f"for the hash of {', '.join(missing)} the index offers {others}; {_RELOCK}"
        raise FetchError(message)


def main(argv: list[str] | None = None) -> int:
    """Fetches the wheels the flags name; returns 0, or 1 with the reason on stderr."""
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
    try:
        fetch(args.wheel, pip=args.pip, output=args.output, environ=os.environ)
    except (FetchError, ToolError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
