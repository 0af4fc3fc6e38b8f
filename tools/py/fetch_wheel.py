r"""One locked wheel, from the index this machine's pip uses, into a directory.

    fetch_wheel.py --requirement 'numpy==2.4.6' --sha256 0123… --filename numpy-2.4.6-….whl \
        --pip DIRECTORY --output DIRECTORY

`wheel_file` runs it when Bazel's repository cache does not have the file. pip does the asking, so
proxies, certificates, credentials and mirrors behave as they do everywhere else on the machine; pip
also compares the hash (`--require-hashes`). Standard library only: it runs before any wheel is
there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bazel_root.errors import BazelRootError
from tools.py.pip_settings import fetching_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_SECONDS = 1800
_RELOCK = "run `bazel run //third_party/python:lock`"


class FetchError(Exception):
    """The wheel could not be had; the message says which and what to do."""


def pip_flags(filename: str) -> list[str]:
    """Returns the flags by which pip accepts exactly the tags in a wheel's name, on any machine.

    The name's parts are PyPA's "Binary distribution format". Raises FetchError for another shape.
    """
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in {5, 6}:
        wanted = "name-version[-build]-python-abi-platform.whl"
        message = f"{filename!r} is not a wheel's name ({wanted}); {_RELOCK}"
        raise FetchError(message)
    python, abi, platforms = parts[-3:]
    flags = [f"--platform={platform}" for platform in platforms.split(".") if platform != "any"]
    if flags:
        flags += [
            "--implementation=cp",
            *(f"--abi={tag}" for tag in {*abi.split("."), "none"} if tag),
        ]
        versions = [tag[2:] for tag in python.split(".") if tag.startswith("cp")]
        if "abi3" not in abi and versions:
            flags.append(f"--python-version={versions[0]}")
    return sorted(flags)


def fetch(
    requirement: str,
    *,
    sha256: str,
    filename: str,
    pip: Path,
    output: Path,
    environ: Mapping[str, str],
) -> Path:
    """Downloads the wheel into `output` with the pip in directory `pip`. Raises FetchError."""
    environment = {**fetching_environment(environ), "PYTHONPATH": str(pip)}
    with tempfile.TemporaryDirectory(prefix="fetch-wheel-") as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-cache-dir",
        ]
        command += [
            "--progress-bar=off",
            "--require-hashes",
            "--only-binary=:all:",
            *pip_flags(filename),
        ]
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
            message = (
                f"{filename}: the index did not deliver it within {_TIMEOUT_SECONDS} s; try again"
            )
            raise FetchError(message) from error
    wheel = output / filename
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-8:])
        message = (
            f"{filename}: pip could not fetch it. Set PIP_INDEX_URL if this machine needs an index "
            f"of its own; if the release was withdrawn, {_RELOCK}. pip says:\n{tail}"
        )
        raise FetchError(message)
    if not wheel.is_file():
        found = ", ".join(sorted(entry.name for entry in output.iterdir())) or "nothing"
        message = f"{filename}: the index offers {found} for its hash; {_RELOCK}"
        raise FetchError(message)
    return wheel


def main(argv: list[str] | None = None) -> int:
    """Fetches the wheel the flags name; returns 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requirement", required=True, help="name==version")
    parser.add_argument("--sha256", required=True, help="hash of the file, in hexadecimal")
    parser.add_argument("--filename", required=True, help="the wheel's file name")
    parser.add_argument(
        "--pip", type=Path, required=True, help="directory that holds the package pip"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory to download into")
    args = parser.parse_args(argv)
    try:
        fetch(
            args.requirement,
            sha256=args.sha256,
            filename=args.filename,
            pip=args.pip,
            output=args.output,
            environ=os.environ,
        )
    except (FetchError, BazelRootError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
