"""The suites' current versions of locked tools whose pinned files are on no mirror any more.

    python3 tools/apt/floating.py LOCK MIRRORS PINS SIGNING_DEB…   # PINS as pins.py prints them
    {"pool/main/x/x_1_amd64.deb": {"filename": "pool/main/x/x_2_amd64.deb", "sha256": …}}

`--config=float` builds tests with them while the lock stays as it is. Only packages that are in no
group of the image are looked up. Each is verified as for a lock: signature → InRelease → Packages →
SHA256, and no index is older than the one that the lock was made from. Of several suites of an
archive the highest version is taken.

Standard library only: a repository rule runs it.
"""

import json
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.apt.index import Suite, fetch_index, fetch_release
from tools.apt.lockfile import SNAPSHOT_FORMAT, Lock, read_lock
from tools.apt.mirrors import redacted
from tools.apt.signature import Verifier
from tools.apt.signing import unpacked_verifier
from tools.apt.versions import compare
from tools.cli import ToolError, tool


def current_versions(
    lock: Lock,
    missing: Collection[str],
    *,
    mirrors: Mapping[str, Sequence[str]],
    verifier: Verifier,
    now: datetime,
) -> dict[str, dict[str, str]]:
    """Return what stands in for the missing files of tools, by the file that the lock names.

    Raise ToolError for an index that cannot be verified, has expired or is older than the lock's.
    """
    wanted = {
        (package.archive, package.arch, package.name): package
        for package in lock.packages
        if package.filename in missing and not _in_image(lock, package.name)
    }
    found: dict[str, dict[str, str]] = {}
    for recorded in lock.releases:
        archs = sorted({arch for archive, arch, _ in wanted if archive == recorded.archive})
        if not archs:
            continue
        suite = Suite(archive=recorded.archive, name=recorded.suite)
        urls = mirrors.get(recorded.archive, ())
        release = fetch_release(suite, mirrors=urls, verifier=verifier)
        if release.date < recorded.moment:
            was = recorded.moment.strftime(SNAPSHOT_FORMAT)
            raise ToolError(f"{suite}: the index is of {release.date}, older than the lock's {was}")
        if reason := release.unfit(now=now):
            raise ToolError(reason)
        for arch in archs:
            for record in fetch_index(release, arch=arch, mirrors=urls).packages():
                pinned = wanted.get((recorded.archive, arch, record.name))
                if pinned is None or record.filename == pinned.filename:
                    continue
                best = found.get(pinned.filename)
                if best is None or compare(best["version"], record.version) < 0:
                    found[pinned.filename] = {
                        "filename": record.filename,
                        "sha256": record.sha256,
                        "suite": recorded.suite,
                        "version": record.version,
                    }
    return found


def _in_image(lock: Lock, name: str) -> bool:
    """Return whether a package is in the image of any architecture."""
    return any(name in lock.image(arch) for arch in lock.excluded_versions)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ToolError(f"{path}: {error}") from error


@tool("floating")
def main(argv: list[str] | None = None) -> None:
    """Print the replacements as JSON."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) < 4:
        names = redacted(" ".join(arguments)) or "no arguments"
        raise ToolError(f"wanted LOCK MIRRORS PINS SIGNING_DEB…, found {names}")
    lock, mirrors, pins, *debs = map(Path, arguments)
    with tempfile.TemporaryDirectory(prefix="float-") as directory:
        found = current_versions(
            read_lock(lock),
            _read(pins)["missing"],
            mirrors=_read(mirrors),
            verifier=unpacked_verifier(debs, directory=Path(directory)),
            now=datetime.now(UTC),
        )
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
