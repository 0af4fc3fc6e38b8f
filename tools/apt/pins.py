"""Ask the mirrors which files of a lock they no longer have, once one could not be downloaded.

    python3 tools/apt/pins.py LOCK MIRRORS    # MIRRORS as mirrors.py prints them
    {"missing": {"pool/main/x/x_1_amd64.deb": "x (amd64) 1: …"}}

An archive keeps the newest version of each package, so a lock that is old names files that are gone
from every mirror. They are told all at once, each with the newer version that has replaced it and
since when that has been there. Only an answer that a file is not there counts, of a mirror that has
the index of a suite: one that cannot be asked says nothing, and neither does one that refuses HEAD.

What is said of newer versions is for people and is not verified; the lock command does that.

Standard library only: a repository rule runs it.
"""

from __future__ import annotations

import http.client
import json
import lzma
import os
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tools.apt.mirrors import redacted, request
from tools.cli import ToolError, tool

Package = Mapping[str, Any]
Mirrors = Mapping[str, Sequence[str]]

_JOBS = 16
_TIMEOUT_SECONDS = 10
_GONE = frozenset([404, 410])
_REDIRECT = 3  # the first digit of these statuses
_INDEX_LIMIT_BYTES = 64 << 20
# The connections of each thread.
_thread = threading.local()
# Hosts that time out or cannot be connected to: they are asked once, not for each file.
_unreachable: set[str] = set()
_SNAPSHOT = "https://snapshot.debian.org/archive"


def find_missing(
    lock: Mapping[str, Any], mirrors: Mirrors, *, permanent: str = _SNAPSHOT
) -> list[Package]:
    """Return the packages that are gone from a mirror, and that no other one has."""
    packages: Sequence[Package] = lock["packages"]
    bases = _answering(lock.get("releases", ()), mirrors)

    def is_gone(package: Package) -> bool:
        filename = package["filename"].replace("+", "%2B")
        answers = [_has(f"{base}/{filename}") for base in bases.get(package["archive"], ())]
        if False not in answers or True in answers or None in answers:
            return False
        moment = package.get("snapshot") or lock["snapshot"]
        return not _has(f"{permanent}/{package['archive']}/{moment}/{filename}")

    files = {package["filename"]: package for package in packages}
    with ThreadPoolExecutor(_JOBS) as pool:
        gone = pool.map(lambda each: (each["filename"], is_gone(each)), files.values())
        missing = {filename for filename, found in gone if found}
    return [package for package in packages if package["filename"] in missing]


def _answering(releases: Sequence[Package], mirrors: Mirrors) -> dict[str, list[str]]:
    """Return the mirrors of each archive that have the index of one of its suites.

    A proxy that answers for a host that is not there has "no such file" for every file.
    """
    found: dict[str, list[str]] = {}
    for release in releases:
        bases = found.setdefault(release["archive"], [])
        for base in mirrors.get(release["archive"], ()):
            if base not in bases and _has(f"{base}/dists/{release['suite']}/InRelease"):
                bases.append(base)
    return found


def _has(url: str) -> bool | None:
    """Return whether a file is there; None if that cannot be told."""
    wanted = request(url)
    wanted.method = "HEAD"
    where = urllib.parse.urlsplit(wanted.full_url).netloc
    status = None if where in _unreachable else _status_over_kept_connection(wanted)
    if status is not None or where in _unreachable:
        return status == http.client.OK or (False if status in _GONE else None)
    try:
        with urllib.request.urlopen(wanted, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - mirrors.py
            return True
    except urllib.error.HTTPError as error:
        return False if error.code in _GONE else None
    except urllib.error.URLError as error:
        # Of file://, which has no status.
        if isinstance(error.reason, FileNotFoundError):
            return False
        _unreachable.add(where)
        return None
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _status_over_kept_connection(wanted: urllib.request.Request) -> int | None:
    """Return the status of HEAD; None where urllib has to ask (a proxy, a redirect, a failure).

    urllib opens a connection for each request, which takes twenty times as long for a whole lock.
    """
    parts = urllib.parse.urlsplit(wanted.full_url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    proxies = urllib.request.getproxies()
    if parts.scheme not in kinds or (
        (parts.scheme in proxies or "all" in proxies)
        and not urllib.request.proxy_bypass(parts.netloc)
    ):
        return None
    connections: dict[str, http.client.HTTPConnection] = vars(_thread).setdefault("kept", {})
    where = f"{parts.scheme}://{parts.netloc}"
    kept = connections.pop(where, None) or kinds[parts.scheme](
        parts.netloc, timeout=_TIMEOUT_SECONDS
    )
    try:
        kept.request("HEAD", wanted.selector, headers=dict(wanted.header_items()))
        reply = kept.getresponse()
        reply.read()
    except TimeoutError:
        _unreachable.add(parts.netloc)
        return None
    except (OSError, http.client.HTTPException):
        return None
    connections[where] = kept
    return None if reply.status // 100 == _REDIRECT else reply.status


def newer_versions(
    missing: Sequence[Package], releases: Sequence[Package], mirrors: Mirrors
) -> dict[tuple[str, str], str]:
    """Return "VERSION in SUITE since DAY" by name and architecture, as far as mirrors tell."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for package in missing:
        wanted.setdefault((package["archive"], package["arch"]), set()).add(package["name"])
    names = {name for each in wanted.values() for name in each}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    versions = {(package["name"], package["arch"]): package["version"] for package in missing}
    for release in releases:
        for arch in sorted({package["arch"] for package in missing}):
            for base in mirrors.get(release["archive"], ()):
                url = f"{base}/dists/{release['suite']}/main/binary-{arch}/Packages.xz"
                records = _records(url, names)
                if records is None:
                    continue
                for name, version, filename in records:
                    key = (name, arch)
                    if versions.get(key, version) == version:
                        continue
                    day = _day(f"{base}/{filename.replace('+', '%2B')}")
                    text = f"{version} in {release['suite']}" + (f" since {day}" if day else "")
                    found[key] = max(found.get(key, ("", "")), (day, text))
                break
    return {key: text for key, (_, text) in found.items()}


def _records(url: str, names: set[str]) -> list[tuple[str, str, str]] | None:
    """Return name, version and file of the wanted packages of an index; None without one."""
    try:
        with urllib.request.urlopen(  # noqa: S310 - mirrors.py gives http, https and file only
            request(url), timeout=_TIMEOUT_SECONDS
        ) as reply:
            text = lzma.decompress(reply.read(_INDEX_LIMIT_BYTES)).decode("utf-8", "replace")
    except (OSError, ValueError, lzma.LZMAError):
        return None
    found = []
    for block in text.split("\n\n"):
        if not block.startswith("Package: ") or block[9:].partition("\n")[0] not in names:
            continue
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        found.append((fields["Package"], fields.get("Version", ""), fields.get("Filename", "")))
    return found


def _day(url: str) -> str:
    """Return the day on which a file came to the archive, "" if the mirror does not say so."""
    wanted = request(url)
    wanted.method = "HEAD"
    try:
        with urllib.request.urlopen(wanted, timeout=_TIMEOUT_SECONDS) as reply:  # noqa: S310 - as above
            stated = reply.headers.get("Last-Modified")
            return parsedate_to_datetime(stated).date().isoformat() if stated else ""
    except (OSError, ValueError, TypeError):
        return ""


def report(lock: Mapping[str, Any], mirrors: Mirrors, *, permanent: str = _SNAPSHOT) -> Any:
    """Return what `main` prints: a sentence for each missing file."""
    missing = find_missing(lock, mirrors, permanent=permanent)
    newer = newer_versions(missing, lock.get("releases", ()), mirrors) if missing else {}
    lines = {}
    for package in missing:
        key = (package["name"], package["arch"])
        there = newer.get(key)
        lines[key] = "{} ({}) {}: {}".format(
            *key, package["version"], f"there is {there}" if there else "no newer version is there"
        )
    return {
        "missing": {
            package["filename"]: lines[package["name"], package["arch"]] for package in missing
        },
    }


@tool("pins")
def main(argv: list[str] | None = None) -> None:
    """Print the files of a lock that no mirror has, as JSON."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        lock, mirrors = (json.loads(Path(name).read_bytes()) for name in arguments)
        found = report(lock, mirrors, permanent=os.environ.get("PERMANENT_ARCHIVE", _SNAPSHOT))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        names = redacted(" and ".join(arguments)) or "no arguments"
        raise ToolError(f"wanted a lock and its mirrors, found {names}: {error!r}") from error
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
